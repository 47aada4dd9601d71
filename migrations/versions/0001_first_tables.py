"""first tables"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _jobs()
    _tasks()
    _attempts()
    _events()
    _idempotency_keys()


def downgrade() -> None:
    for table in ("idempotency_keys", "events", "attempts", "tasks", "jobs"):
        op.drop_table(table)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("dataset_uri", sa.Text(), nullable=False),
        sa.Column("backbone", sa.String(255), nullable=False),
        sa.Column("state", sa.String(255), nullable=False, index=True),
        sa.Column("phase", sa.String(255)),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("deadline_at", sa.Double()),
        sa.Column("started_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("failure_kind", sa.String(255)),
        sa.Column("failure_message", sa.Text()),
        sa.Column("archive", sa.JSON()),
        sa.Column("preview", sa.JSON()),
        sa.Column("metrics", sa.JSON()),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("job_id", sa.String(255), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(255), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("output", sa.JSON()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(255)),
        sa.Column("lease_expires_at", sa.Double()),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
    )
    op.create_index("tasks_claimable", "tasks", ["state", "not_before", "id"])
    op.create_index("tasks_of_job", "tasks", ["job_id", "kind", "ordinal"], unique=True)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("task_id", sa.String(255), sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("worker", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("outcome", sa.String(255)),
        sa.Column("failure_kind", sa.String(255)),
        sa.Column("failure_message", sa.Text()),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(255), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("type", sa.String(255), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
    )
    op.create_index("events_of_job", "events", ["job_id", "id"])


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request_sha256", sa.String(255), nullable=False),
        sa.Column("job_id", sa.String(255), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
    )
