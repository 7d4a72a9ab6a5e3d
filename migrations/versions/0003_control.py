"""Drafts and their approvals, waves of a batch, escrow, and the closing of a batch.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from bulkreset.store.column_types import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Each with the name that its constraint really has at PostgreSQL; the first one got its prefix twice.
_WORDS = ("ck_batch_state_word", "state IN ('draft', 'open', 'paused', 'halted', 'cancelled', 'done')")
_WORDS_BEFORE = ("ck_batch_ck_batch_state_word", "state IN ('open', 'paused', 'halted', 'cancelled', 'done')")


def upgrade() -> None:
    _states(_WORDS_BEFORE, _WORDS)
    op.add_column("batch", sa.Column("approvals_needed", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batch", sa.Column("wave", sa.Integer(), server_default="1", nullable=False))
    op.add_column("batch", sa.Column("wave_at", _time(), nullable=True))
    op.add_column("batch", sa.Column("closed_at", _time(), nullable=True))
    op.add_column("task", sa.Column("wave", sa.Integer(), server_default="1", nullable=True))
    _claimed_along("batch_id", "label", "wave", "due_at", "id")
    canary = sa.text("wave = 0")
    op.create_index(
        "ix_task_canary", "task", ["batch_id", "state"], unique=False, postgresql_where=canary, sqlite_where=canary
    )
    op.create_table(
        "approval",
        sa.Column("batch_id", _id(), autoincrement=False, nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("roster_sha256", sa.Text(), nullable=False),
        sa.Column("options_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_approval_batch_id"),
        sa.PrimaryKeyConstraint("batch_id", "approver", name="pk_approval"),
    )
    op.create_table(
        "escrow",
        sa.Column("task_id", _id(), autoincrement=False, nullable=False),
        sa.Column("batch_id", _id(), nullable=False),
        sa.Column("sealed_at", _time(), nullable=False),
        sa.Column("expires_at", _time(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_escrow_batch_id"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_escrow_task_id"),
        sa.PrimaryKeyConstraint("task_id", name="pk_escrow"),
    )
    op.create_index("ix_escrow_batch_id", "escrow", ["batch_id", "task_id"], unique=False)
    op.create_index("ix_escrow_expires_at", "escrow", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_table("escrow")
    op.drop_table("approval")
    op.drop_index("ix_task_canary", "task")
    _claimed_along("batch_id", "label", "due_at", "id")
    op.drop_column("task", "wave")
    for name in ("closed_at", "wave_at", "wave", "approvals_needed"):
        op.drop_column("batch", name)
    # Not paused: nobody may start what was not approved. Its tasks are swept by the version before.
    op.execute("UPDATE batch SET state = 'cancelled', state_reason = 'was a draft' WHERE state = 'draft'")
    _states(_WORDS, _WORDS_BEFORE)


def _states(before: tuple[str, str], after: tuple[str, str]) -> None:
    """Name the states that a batch may have; SQLite can only copy the table for it."""
    name, words = op.f(after[0]), after[1]
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(before[0]), "batch", type_="check")
        op.create_check_constraint(name, "batch", words)
        return
    with op.batch_alter_table("batch", recreate="always", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint(op.f(before[0]), type_="check")
        batch.create_check_constraint(name, words)


def _claimed_along(*columns: str) -> None:
    """Build the index of claims anew over these columns."""
    op.drop_index("ix_task_due", "task")
    pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_task_due", "task", list(columns), unique=False, postgresql_where=pending, sqlite_where=pending
    )


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time() -> UtcDateTime:
    return UtcDateTime(length=26)
