"""Whether an earlier call may have done what a task asks for, and a code for sessions left alone.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "task", sa.Column("maybe_changed", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False)
    )
    op.execute(
        "UPDATE task SET maybe_changed = TRUE WHERE state <> 'succeeded' AND EXISTS (SELECT 1 FROM attempt"
        " WHERE attempt.task_id = task.id AND attempt.outcome IN ('unknown', 'provider_error', 'ok', 'confirmed'))"
    )
    op.execute(
        "UPDATE task SET code = 'no_password' WHERE action = 'revoke_sessions' AND state = 'skipped'"
        " AND code IS NULL AND message = 'skipped: no password was set for this user'"
    )
    maybe = sa.text("maybe_changed")
    op.create_index(
        "ix_task_maybe_changed",
        "task",
        ["batch_id", "action", "state"],
        unique=False,
        postgresql_where=maybe,
        sqlite_where=maybe,
    )


def downgrade() -> None:
    op.drop_index("ix_task_maybe_changed", "task")
    op.execute("UPDATE task SET code = NULL WHERE code = 'no_password'")
    op.drop_column("task", "maybe_changed")
