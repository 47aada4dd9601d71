"""many workers: queues, priorities, and who works"""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from app.db.session import now

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

READY = sa.text("state = 'ready'")
RUNNING = sa.text("state = 'running'")
UNFINISHED = sa.text("state <> 'succeeded'")
KEY = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
KEYS = (
    ("jobs", "id"),
    ("tasks", "id"),
    ("tasks", "job_id"),
    ("attempts", "task_id"),
    ("events", "job_id"),
    ("idempotency_keys", "key"),
    ("idempotency_keys", "job_id"),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(255)))
    op.drop_index("tasks_claimable", "tasks")
    _describe_tasks()
    _collate_keys("C")
    _index("tasks_ready", ["queue", "rank", "id"], READY)
    _index("tasks_running", ["id"], RUNNING)
    _index("tasks_unfinished", ["job_id", "id"], UNFINISHED)
    op.create_table(
        "workers",
        sa.Column("name", KEY, primary_key=True),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )
    installation = op.create_table("installation", sa.Column("id", KEY, primary_key=True))
    op.bulk_insert(installation, [{"id": uuid4().hex}])


def downgrade() -> None:
    op.drop_table("installation")
    op.drop_table("workers")
    for index in ("tasks_ready", "tasks_running", "tasks_unfinished"):
        op.drop_index(index, "tasks")
    _collate_keys("default")
    with op.batch_alter_table("tasks") as tasks:
        for column in ("queue", "rank", "ready_at"):
            tasks.drop_column(column)
    op.create_index("tasks_claimable", "tasks", ["state", "not_before", "id"])
    op.drop_column("jobs", "traceparent")


def _describe_tasks() -> None:
    """Jobs of before have no priority; what is ready begins to wait now."""
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("queue", sa.String(255)))
        tasks.add_column(sa.Column("rank", sa.Integer()))
        tasks.add_column(sa.Column("ready_at", sa.Double()))
    tasks = sa.table("tasks", sa.column("kind"), sa.column("state"), *map(sa.column, ("queue", "rank", "ready_at")))
    op.execute(tasks.update().values(queue=sa.case((tasks.c.kind == "sample", "gpu"), else_="cpu"), rank=0))
    op.execute(tasks.update().where(tasks.c.state == "ready").values(ready_at=now()))
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("queue", existing_type=sa.String(255), nullable=False)
        tasks.alter_column("rank", existing_type=sa.Integer(), nullable=False)


def _collate_keys(collation: str) -> None:
    """SQLite compares bytes anyway."""
    if op.get_bind().dialect.name == "postgresql":
        for table, column in KEYS:
            op.execute(f'ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR(255) COLLATE "{collation}"')


def _index(name: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, "tasks", columns, sqlite_where=where, postgresql_where=where)
