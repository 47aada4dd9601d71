"""warnings: what a task found that its job's user should know"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("warnings", sa.JSON()))
    op.add_column("tasks", sa.Column("warnings", sa.JSON()))


def downgrade() -> None:
    op.drop_column("tasks", "warnings")
    op.drop_column("jobs", "warnings")
