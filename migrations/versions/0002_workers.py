"""Many workers: who is at work, who takes up an order, and what was sent lately.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

from bulkreset.store.column_types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Each task and each attempt is written about three times within seconds. Room on its page lets a row be updated
# in place, and a vacuum that comes early keeps the index that claims walk along free of dead entries.
_STORAGE = {
    "task": "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02",
    "attempt": "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05",
    "quota": "fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500",
}


def upgrade() -> None:
    op.create_table(
        "worker",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", _time(), nullable=False),
        sa.Column("seen_at", _time(), nullable=False),
        sa.Column("ended_at", _time(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_worker"),
    )
    op.add_column("batch_request", sa.Column("taken_until", _time(), nullable=True))
    op.create_index("ix_attempt_opened_at", "attempt", ["opened_at"], unique=False, postgresql_using="brin")
    if op.get_bind().dialect.name == "postgresql":
        for table, options in _STORAGE.items():
            op.execute(f"ALTER TABLE {table} SET ({options})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, options in _STORAGE.items():
            names = ", ".join(option.split(" = ")[0] for option in options.split(", "))
            op.execute(f"ALTER TABLE {table} RESET ({names})")
    op.drop_index("ix_attempt_opened_at", "attempt")
    op.drop_column("batch_request", "taken_until")
    op.drop_table("worker")


def _time() -> UtcDateTime:
    return UtcDateTime(length=26)
