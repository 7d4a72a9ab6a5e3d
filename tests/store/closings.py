"""Results as tests of the store make them, and rows as they read them."""

from sqlalchemy import text

from bulkreset.model import Decision, Outcome, Result, TaskState, Verdict
from bulkreset.store.results import Closing


def closing(claim, outcome, state, at, *, due_at=None, keep=False, **counters):
    decision = Decision(state, outcome, due_at, keep_password=keep, **counters)
    return Closing(Result(claim, Verdict(outcome, http_status=204), at, at, 5), decision)


def succeeded(claim, at):
    return closing(claim, Outcome.OK, TaskState.SUCCEEDED, at)


async def rows(store, sql):
    async with store.read() as conn:
        return [tuple(row) for row in await conn.execute(text(sql))]
