"""many workers: queues, priorities, and who works"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

READY = sa.text("state = 'ready'")
RUNNING = sa.text("state = 'running'")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(255)))
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("queue", sa.String(255), nullable=False, server_default="cpu"))
        tasks.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
        tasks.add_column(sa.Column("ready_at", sa.Double()))
    op.execute("UPDATE tasks SET queue = 'gpu' WHERE kind = 'sample'")
    op.drop_index("tasks_claimable", "tasks")
    op.create_index("tasks_ready", "tasks", ["rank", "id"], sqlite_where=READY, postgresql_where=READY)
    op.create_index("tasks_ready_of_queue", "tasks", ["queue", "rank", "id"], sqlite_where=READY, postgresql_where=READY)
    op.create_index("tasks_running", "tasks", ["lease_expires_at"], sqlite_where=RUNNING, postgresql_where=RUNNING)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("workers")
    for index in ("tasks_ready", "tasks_ready_of_queue", "tasks_running"):
        op.drop_index(index, "tasks")
    with op.batch_alter_table("tasks") as tasks:
        for column in ("queue", "rank", "ready_at"):
            tasks.drop_column(column)
    op.create_index("tasks_claimable", "tasks", ["state", "not_before", "id"])
    op.drop_column("jobs", "traceparent")
