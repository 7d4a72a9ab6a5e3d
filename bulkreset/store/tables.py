"""The tables, alike on SQLite and PostgreSQL: times are UTC, states are text with a CHECK."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    select,
    text,
)

from bulkreset.model import Action, BatchState, Outcome, TaskState
from bulkreset.store.column_types import UtcDateTime, UtcDay, Whole

SCHEMA_REVISION: Final = "0007"
"""The alembic revision that these tables are at; a test holds it against the newest migration."""


def _one_of(column: str, words: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    allowed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_word")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives only an INTEGER key the row id; it is 64 bits wide there all the same.
_Id = BigInteger().with_variant(Integer(), "sqlite")

# Compared by bytes on both databases: a roster's order must not hang on the language of the server.
_Ref = Text().with_variant(Text(collation="C"), "postgresql")

quota = Table(
    "quota",
    metadata,
    Column("account", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("interval", Double, nullable=False),  # seconds between two slots, as last claimed with
    Column("tat", UtcDateTime, nullable=False),  # the next free point on the account's line of time
    Column("paused_until", UtcDateTime),
    Column("pause_reason", Text),
    Column("halted_reason", Text),
    Column("day", UtcDay),  # UTC day that used_today counts
    Column("used_today", Whole, nullable=False, server_default="0"),
)

batch = Table(
    "batch",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("login", Text),  # that the order came from, where the system has one: equal ones are one person
    Column("created_at", UtcDateTime, nullable=False),
    Column("not_before", UtcDateTime),
    Column("state", Text, nullable=False),
    Column("state_reason", Text),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("roster_sha256", Text, nullable=False),
    Column("total", Whole, nullable=False),
    Column("excluded", Whole, nullable=False),
    Column("duplicates", Whole, nullable=False),
    Column("policy", Text, nullable=False),  # JSON: what the provider asks of a password, as read at creation
    Column("options", Text, nullable=False, server_default="{}"),  # JSON: see bulkreset.options
    Column("approvals_needed", Whole, nullable=False, server_default="0"),
    Column("wave", Whole, nullable=False, server_default="1"),  # the wave of tasks that may be claimed
    Column("wave_at", UtcDateTime),  # when work on that wave began or went on; NULL: at started_at
    Column("closed_at", UtcDateTime),  # when the roster was held against the account once more
    Column("wrapped_key", Text),  # the batch key under the master key; NULL once nothing is sealed any more
    Column("stop_no", Whole, nullable=False, server_default="0"),  # how often somebody paused or cancelled it
    Column("stopped_at", UtcDateTime),  # when somebody did so last
    _one_of("state", BatchState),
    Index("ix_batch_account_state", "account", "state"),
    sqlite_autoincrement=True,
)

_ACTIVE: Final = "state IN ('pending', 'running')"
_PENDING: Final = "state = 'pending'"
_RUNNING: Final = "state = 'running'"
_CANARY: Final = "wave = 0"
_MAYBE: Final = "maybe_changed"

task = Table(
    "task",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("batch_id", _Id, ForeignKey("batch.id"), nullable=False),
    Column("account", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("user_ref", _Ref, nullable=False),  # what the provider's API takes; unique in the roster
    Column("display", Text, nullable=False),  # what a person knows the user by
    Column("user_id", Text),  # the provider's id, where another name is called and its listing told the id
    Column("action", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    # 0 for the canaries, 1 for the rest; NULL while the task waits for the end of the user's other one
    Column("wave", Integer, server_default="1"),
    Column("attempt", Integer, nullable=False, server_default="0"),  # number of the latest attempt
    Column("tries", Integer, nullable=False, server_default="0"),  # failure tries spent
    Column("unclear", Integer, nullable=False, server_default="0"),  # attempts that ended unknown
    Column("renewals", Integer, nullable=False, server_default="0"),  # new passwords after a refusal
    Column("password_no", Integer, nullable=False, server_default="0"),  # 0: none yet; +1 for each new password
    Column("maybe_landed", Boolean, nullable=False, server_default=text("FALSE")),  # this password may be in force
    # An earlier call, with whatever password, may have done what is asked; only success ends that doubt.
    Column("maybe_changed", Boolean, nullable=False, server_default=text("FALSE")),
    Column("sealed", Text),  # the password under the batch key; NULL when final
    Column("worker", Text),
    Column("lease_until", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("outcome", Text),  # of the latest attempt
    Column("code", Text),
    Column("message", Text),
    _one_of("state", TaskState),
    _one_of("action", Action),
    _one_of("outcome", Outcome),
    UniqueConstraint("batch_id", "user_ref", "action"),
    # Never two calls in flight for one user, over all batches.
    Index(
        "uq_task_active",
        "account",
        "user_ref",
        "action",
        unique=True,
        postgresql_where=text(_ACTIVE),
        sqlite_where=text(_ACTIVE),
    ),
    # The claim's path: finished rows are not in it, so it stays as small as the work that is left.
    Index(
        "ix_task_due",
        "batch_id",
        "label",
        "wave",
        "due_at",
        "id",
        postgresql_where=text(_PENDING),
        sqlite_where=text(_PENDING),
    ),
    # Whether all canaries have ended is asked often, and of few rows.
    Index("ix_task_canary", "batch_id", "state", postgresql_where=text(_CANARY), sqlite_where=text(_CANARY)),
    # Who may have been changed all the same is asked with every count, and is hardly ever anybody.
    Index(
        "ix_task_maybe_changed",
        "batch_id",
        "action",
        "state",
        postgresql_where=text(_MAYBE),
        sqlite_where=text(_MAYBE),
    ),
    Index("ix_task_lease", "lease_until", postgresql_where=text(_RUNNING), sqlite_where=text(_RUNNING)),
    # Counts by state and outcome are read from this index alone.
    Index("ix_task_counts", "batch_id", "state", "outcome"),
    sqlite_autoincrement=True,
)


# A partial index serves a statement only where its condition stands there to the letter: a planner cannot see
# through a parameter. These are the conditions, for `task` or for an alias of it.


def is_active(of: FromClause = task) -> TextClause:
    """Whether a task may still be sent: the condition of `uq_task_active`."""
    return text(f"{of.description}.{_ACTIVE}")


def is_unfinished() -> ColumnElement[bool]:
    """Whether a batch has not ended, whatever else its state is, also one that damage has put there."""
    return batch.c.state.not_in([state for state in BatchState if state.final])


def is_pending(of: FromClause = task) -> TextClause:
    """Whether a task waits: the condition of `ix_task_due`."""
    return text(f"{of.description}.{_PENDING}")


def is_running(of: FromClause = task) -> TextClause:
    """Whether a task is claimed: the condition of `ix_task_lease`."""
    return text(f"{of.description}.{_RUNNING}")


def is_canary(of: FromClause = task) -> TextClause:
    """Whether a task is one of the first wave: the condition of `ix_task_canary`."""
    return text(f"{of.description}.{_CANARY}")


def is_maybe_changed(of: FromClause = task) -> TextClause:
    """Whether an earlier call may have done what a task asks for: the condition of `ix_task_maybe_changed`."""
    return text(f"{of.description}.{_MAYBE}")


def state_is(state: TaskState) -> ColumnElement[bool]:
    """Whether a task that is found by its id has this state, whatever indexes there are on states.

    PostgreSQL believes that hardly any task is running, for it counts now and then only: given the plain
    condition it walks all that are, once for each id.
    """
    return task.c.state.concat("") == state


def any_task(*which: ColumnElement[bool] | TextClause, along: Sequence[ColumnElement[Any]]) -> ColumnElement[bool]:
    """Whether the batch of the statement around has such a task; `along` are the columns of the index to use.

    Not EXISTS, out of which PostgreSQL makes a join: it gathers all such tasks to find one of each batch. And
    without an order it reads the table from its start, where the finished ones are, for the first that fits.
    """
    first = select(task.c.id).where(task.c.batch_id == batch.c.id, *which).order_by(*along).limit(1)
    return first.scalar_subquery().is_not(None)


def open_elsewhere() -> ColumnElement[bool]:
    """Whether the user of a task that is not active has another task of its action that is: one must be enough."""
    other = task.alias("other")
    same = (getattr(other.c, name) == getattr(task.c, name) for name in ("account", "user_ref", "action"))
    return select(other.c.id).where(*same, is_active(other)).exists()


def any_in_state(state: TaskState) -> ColumnElement[bool]:
    """Whether the batch of the statement around has a task in this state."""
    return any_task(task.c.state == state, along=[task.c.outcome])


attempt = Table(
    "attempt",
    metadata,
    Column("task_id", _Id, ForeignKey("task.id"), primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("worker", Text, nullable=False),
    Column("password_no", Integer, nullable=False),
    Column("slot_at", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("sent_at", UtcDateTime),  # NULL: it never left, or its worker died before it could say
    Column("closed_at", UtcDateTime),
    Column("outcome", Text),
    Column("http_status", Integer),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),  # the provider's own, for its support
    Column("latency_ms", Integer),
    _one_of("outcome", Outcome),
    # What was sent lately; rows come in this order, so a few words a page of them are enough at PostgreSQL.
    Index("ix_attempt_opened_at", "opened_at", postgresql_using="brin"),
    sqlite_with_rowid=False,
)

# Who let a draft go, and what exactly: an approval counts only while both hashes are the batch's own.
approval = Table(
    "approval",
    metadata,
    Column("batch_id", _Id, ForeignKey("batch.id"), primary_key=True, autoincrement=False),
    Column("approver", Text, primary_key=True),
    Column("login", Text),
    Column("at", UtcDateTime, nullable=False),
    Column("roster_sha256", Text, nullable=False),
    Column("options_sha256", Text, nullable=False),
)

# Passwords in force, sealed to the escrow's recipients: nothing here or in the configuration opens them.
escrow = Table(
    "escrow",
    metadata,
    Column("task_id", _Id, ForeignKey("task.id"), primary_key=True, autoincrement=False),
    Column("batch_id", _Id, ForeignKey("batch.id"), nullable=False),
    Column("sealed_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("sealed", Text, nullable=False),
    Index("ix_escrow_batch_id", "batch_id", "task_id"),
    Index("ix_escrow_expires_at", "expires_at"),
)

event = Table(
    "event",
    metadata,
    Column("batch_id", _Id, ForeignKey("batch.id"), primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

# Told by each worker about itself, for people to see. Nothing is decided by it: leases are what counts.
worker = Table(
    "worker",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)

# A worker has dropped what it had claimed of a stopped batch: nothing more of that stop's time leaves it.
stop_confirmation = Table(
    "stop_confirmation",
    metadata,
    Column("batch_id", _Id, ForeignKey("batch.id"), primary_key=True, autoincrement=False),
    Column("worker", Text, primary_key=True),
    Column("stop_no", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("departed", Integer, nullable=False),  # calls that left between the stop and this
    Column("in_flight", Integer, nullable=False),  # calls that were on their way then
)

# What a worker's configuration says of an account: two that differ do not work on it side by side.
worker_account = Table(
    "worker_account",
    metadata,
    Column("account", Text, primary_key=True),
    Column("worker", Text, primary_key=True),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("began_at", UtcDateTime),  # NULL while it has not been its turn to work on the account
    Column("settings", Text, nullable=False),  # JSON: see bulkreset.store.agreement
)

ORDER_STATES: Final = ("draft", "ready", "accepted", "refused")

# Written by other systems with plain INSERTs, hence the server defaults.
batch_request = Table(
    "batch_request",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("account", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("not_before", UtcDateTime),
    Column("state", Text, nullable=False, server_default="draft"),
    Column("batch_id", _Id, ForeignKey("batch.id")),
    Column("message", Text),
    Column("accept", Text),  # what is accepted with it: words of bulkreset.intake.concerns, with blanks between
    Column("taken_until", UtcDateTime),  # a worker is at it until then; another may try after
    _one_of("state", ORDER_STATES),
    Index("ix_batch_request_state", "state"),
    sqlite_autoincrement=True,
)

batch_request_user = Table(
    "batch_request_user",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("request_id", _Id, ForeignKey("batch_request.id"), nullable=False),
    Column("user_ref", Text, nullable=False),
    Index("ix_batch_request_user_request_id", "request_id"),
)
