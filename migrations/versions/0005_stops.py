"""Stops of a batch with the workers that confirmed them, and each worker's configuration of an account.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

from bulkreset.store.column_types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batch", sa.Column("stop_no", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batch", sa.Column("stopped_at", _time(), nullable=True))
    op.create_table(
        "stop_confirmation",
        sa.Column("batch_id", _id(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stop_no", sa.Integer(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("departed", sa.Integer(), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_stop_confirmation_batch_id"),
        sa.PrimaryKeyConstraint("batch_id", "worker", name="pk_stop_confirmation"),
    )
    op.create_table(
        "worker_account",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("arrived_at", _time(), nullable=False),
        sa.Column("seen_at", _time(), nullable=False),
        sa.Column("began_at", _time(), nullable=True),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "worker", name="pk_worker_account"),
    )


def downgrade() -> None:
    op.drop_table("worker_account")
    op.drop_table("stop_confirmation")
    op.drop_column("batch", "stopped_at")
    op.drop_column("batch", "stop_no")


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time() -> UtcDateTime:
    return UtcDateTime(length=26)
