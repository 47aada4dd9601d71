"""limits and totals: when a running job must have ended, counters that outlive jobs, and which versions can use the tables"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("must_end_at", sa.Double()))
    op.create_table(
        "totals",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(255), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False),
        sa.Column("failure", sa.String(255), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    with op.batch_alter_table("installation") as installation:
        installation.add_column(sa.Column("oldest_revision", sa.String(255)))
    # Versions before this one do not look at it.
    op.execute("UPDATE installation SET oldest_revision = '0004'")
    with op.batch_alter_table("installation") as installation:
        installation.alter_column("oldest_revision", existing_type=sa.String(255), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("installation") as installation:
        installation.drop_column("oldest_revision")
    op.drop_table("totals")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("must_end_at")
