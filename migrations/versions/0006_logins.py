"""The login that an order or an approval came from, and what an order by SQL accepts.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("login", sa.Text(), nullable=True))
    op.add_column("approval", sa.Column("login", sa.Text(), nullable=True))
    op.add_column("batch_request", sa.Column("accept", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("batch_request", "accept")
    op.drop_column("approval", "login")
    op.drop_column("batch", "login")
