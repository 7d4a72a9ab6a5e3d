"""The first tables: quotas, batches, tasks, attempts, events, and orders by SQL.

Revision: 0001, after nothing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from bulkreset.store.column_types import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_OUTCOME = (
    "outcome IN ('ok', 'confirmed', 'same_password', 'policy_rejected', 'too_many_changes', 'user_not_found', "
    "'not_resettable', 'rate_limited', 'unauthorized', 'forbidden', 'provider_error', 'unreachable', 'unknown', "
    "'released', 'unexpected')"
)


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("not_before", _time(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("started_at", _time(), nullable=True),
        sa.Column("finished_at", _time(), nullable=True),
        sa.Column("roster_sha256", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("excluded", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), server_default="{}", nullable=False),
        sa.Column("wrapped_key", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'paused', 'halted', 'cancelled', 'done')", name="ck_batch_state_word"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batch_account_state", "batch", ["account", "state"], unique=False)
    op.create_table(
        "quota",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("interval", sa.Double(), nullable=False),
        sa.Column("tat", _time(), nullable=False),
        sa.Column("paused_until", _time(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("halted_reason", sa.Text(), nullable=True),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("used_today", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("account", "label", name="pk_quota"),
    )
    op.create_table(
        "batch_request",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("not_before", _time(), nullable=True),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("batch_id", _id(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('draft', 'ready', 'accepted', 'refused')", name="ck_batch_request_state_word"
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_batch_request_batch_id"),
        sa.PrimaryKeyConstraint("id", name="pk_batch_request"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batch_request_state", "batch_request", ["state"], unique=False)
    op.create_table(
        "event",
        sa.Column("batch_id", _id(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_event_batch_id"),
        sa.PrimaryKeyConstraint("batch_id", "seq", name="pk_event"),
    )
    op.create_table(
        "task",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("batch_id", _id(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("user_ref", _ref(), nullable=False),
        sa.Column("display", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", _time(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unclear", sa.Integer(), server_default="0", nullable=False),
        sa.Column("renewals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("password_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("maybe_landed", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_until", _time(), nullable=True),
        sa.Column("finished_at", _time(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.CheckConstraint("action IN ('set_password', 'revoke_sessions')", name="ck_task_action_word"),
        sa.CheckConstraint(_OUTCOME, name="ck_task_outcome_word"),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')",
            name="ck_task_state_word",
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_task_batch_id"),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
        sa.UniqueConstraint("batch_id", "user_ref", "action", name="uq_task_batch_id_user_ref_action"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_task_counts", "task", ["batch_id", "state", "outcome"], unique=False)
    op.create_index(
        "ix_task_due", "task", ["batch_id", "label", "due_at", "id"], unique=False, **_where("state = 'pending'")
    )
    op.create_index("ix_task_lease", "task", ["lease_until"], unique=False, **_where("state = 'running'"))
    op.create_index(
        "uq_task_active",
        "task",
        ["account", "user_ref", "action"],
        unique=True,
        **_where("state IN ('pending', 'running')"),
    )
    op.create_table(
        "attempt",
        sa.Column("task_id", _id(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("password_no", sa.Integer(), nullable=False),
        sa.Column("slot_at", _time(), nullable=False),
        sa.Column("opened_at", _time(), nullable=False),
        sa.Column("sent_at", _time(), nullable=True),
        sa.Column("closed_at", _time(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.CheckConstraint(_OUTCOME, name="ck_attempt_outcome_word"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_attempt_task_id"),
        sa.PrimaryKeyConstraint("task_id", "n", name="pk_attempt"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batch_request_user",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("request_id", _id(), nullable=False),
        sa.Column("user_ref", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["batch_request.id"], name="fk_batch_request_user_request_id"),
        sa.PrimaryKeyConstraint("id", name="pk_batch_request_user"),
    )
    op.create_index("ix_batch_request_user_request_id", "batch_request_user", ["request_id"], unique=False)


def downgrade() -> None:
    for name in ("batch_request_user", "attempt", "task", "event", "batch_request", "quota", "batch"):
        op.drop_table(name)


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _ref() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _time() -> UtcDateTime:
    return UtcDateTime(length=26)


def _where(condition: str) -> dict[str, Any]:
    """Limit an index to some rows, on either database."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}
