"""${message}"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


# Processes of the version before go on while this runs, and after it. If they cannot live with it, add
# op.execute("UPDATE installation SET oldest_revision = ${repr(up_revision)}"): they then stop and say why.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
