"""The provider's id of a user who is called by address, so that a protected list may name either.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task", sa.Column("user_id", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("task", "user_id")
