"""What makes a row one that nobody here wrote so: conditions in SQL, each with what it is about.

SQLite keeps whatever it is given: text where a number belongs, bytes where text does. PostgreSQL's types keep out
most of that, and its checks the words that are none.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Integer, String, and_, case, cast, false, func, literal, or_, select

from bulkreset.model import Action, BatchState, TaskState
from bulkreset.store.tables import ORDER_STATES, attempt, batch, batch_request, is_active, quota, task

Labels = Mapping[str, Mapping[Action, str]]
"""By account: the limit that a call of each action is counted under."""

# Providers put a user off for a day; what lies further ahead was not written here.
_FARTHEST: Final = timedelta(days=400)
_DAY: Final = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]"
_TIME: Final = f"{_DAY} [0-2][0-9]:[0-5][0-9]:[0-5][0-9]*"
_COUNTERS: Final = ("attempt", "tries", "unclear", "renewals", "password_no", "maybe_landed", "maybe_changed")

Fault = tuple[ColumnElement[bool], str]


def of_request() -> list[Fault]:
    """Return what can be wrong with an order by SQL that whoever takes it up would never come to."""
    return [(_not_in(batch_request.c.state, ORDER_STATES), "state")]


def of_batch(now: datetime, labels: Labels, *, sqlite: bool) -> list[Fault]:
    """Return what can be wrong with the row of a batch that has not ended."""
    c = batch.c
    elsewhere = select(task.c.id).where(task.c.batch_id == c.id, task.c.account != c.account)
    return [
        (_not_in(c.state, BatchState), "state"),
        *_not_text(sqlite, c.account, c.incident, c.reason, c.requested_by, c.roster_sha256, c.policy, c.options),
        *_not_text(sqlite, c.wrapped_key, c.state_reason, c.login, nullable=True),
        *_not_whole(sqlite, c.total, c.excluded, c.duplicates, c.approvals_needed, c.wave, c.stop_no),
        (c.wave.not_in((0, 1)), "wave"),
        *_no_time(sqlite, now, c.started_at, c.wave_at),
        # It may be ordered for any day, by whoever writes it into the table.
        *_no_time(sqlite, now + 100 * _FARTHEST, c.not_before),
        (and_(c.account.not_in(tuple(labels)), elsewhere.exists()), "account"),
    ]


def of_task(now: datetime, labels: Labels, *, sqlite: bool) -> list[Fault]:
    """Return what can be wrong with the row of a task that waits, beside that of its batch."""
    c = task.c
    other = task.alias("first")
    waits_for = select(other.c.id).where(
        other.c.batch_id == c.batch_id,
        other.c.user_ref == c.user_ref,
        other.c.action == Action.SET_PASSWORD,
        is_active(other),
    )
    counted_under = [
        and_(batch.c.account == account, c.action == action, c.label != label)
        for account, by_action in labels.items()
        for action, label in by_action.items()
    ]
    later = select(attempt.c.n).where(attempt.c.task_id == c.id, attempt.c.n > c.attempt)
    return [
        (_not_in(c.state, TaskState), "state"),
        (_not_in(c.action, Action), "action"),
        *_not_text(sqlite, c.user_ref, c.display, c.account, c.label),
        *_not_text(sqlite, c.sealed, c.user_id, nullable=True),
        *_not_whole(sqlite, *(c[name] for name in _COUNTERS)),
        *_no_time(sqlite, now, c.due_at),
        (and_(c.account != batch.c.account, batch.c.account.in_(tuple(labels))), "account"),
        (or_(false(), *counted_under), "label"),
        (or_(c.wave.not_in((0, 1)), and_(c.wave == 0, batch.c.wave == 1)), "wave"),
        (and_(c.wave.is_(None), c.action == Action.SET_PASSWORD), "wave"),
        (and_(c.wave.is_(None), ~waits_for.exists()), "the task that it waits for has ended or is gone"),
        (later.exists(), "its number of attempts is behind those on record"),
    ]


def of_quota(now: datetime, *, sqlite: bool) -> list[Fault]:
    """Return what can be wrong with the row of a limit."""
    c = quota.c
    of_sqlite = [
        (func.typeof(c.interval).not_in(("real", "integer")), "interval"),
        (and_(c.day.is_not(None), cast(c.day, String).op("NOT GLOB")(_DAY)), "day"),
    ]
    return [
        *_not_text(sqlite, c.account, c.label),
        *_not_whole(sqlite, c.used_today),
        *_no_time(sqlite, now, c.tat, c.paused_until),
        (c.interval < 0, "interval"),
        *(of_sqlite if sqlite else []),
    ]


def first(faults: list[Fault]) -> ColumnElement[str | None]:
    """Select what the first of these faults is about that a row has; nothing where it has none."""
    return case(*((wrong, literal(what)) for wrong, what in faults), else_=None)


def _not_in(column: ColumnElement[Any], words: Iterable[str]) -> ColumnElement[bool]:
    return or_(column.is_(None), column.not_in(tuple(words)))


def _not_text(sqlite: bool, *columns: ColumnElement[Any], nullable: bool = False) -> list[Fault]:
    kinds = ("text", "null") if nullable else ("text",)
    return [(func.typeof(column).not_in(kinds), column.key or "") for column in columns if sqlite]


def _not_whole(sqlite: bool, *columns: ColumnElement[Any]) -> list[Fault]:
    numbers = [(func.typeof(column) != "integer", column.key or "") for column in columns if sqlite]
    return numbers + [
        (cast(column, Integer) < 0, column.key or "") for column in columns if not isinstance(column.type, Boolean)
    ]


def _no_time(sqlite: bool, now: datetime, *columns: ColumnElement[Any]) -> list[Fault]:
    """A time that is none, or lies further ahead than any that is written here."""
    unread = [
        (and_(column.is_not(None), cast(column, String).op("NOT GLOB")(_TIME)), column.key or "")
        for column in columns
        if sqlite
    ]
    return unread + [(column > now + _FARTHEST, column.key or "") for column in columns]
