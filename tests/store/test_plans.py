"""How the databases go about the statements of the hot path, as they are really bound, at 1,000,000 rows."""

import json

import pytest
from closings import succeeded
from sqlalchemy import event, text

from bulkreset.model import Quota
from bulkreset.store import batches, due, lifecycle, results
from bulkreset.store.results import Ledger

QUOTA = Quota("zoom", "medium")
ROWS = 1_000_000
FINISHED = 900_000

_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows) ",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1, :rows)) ",
}
_TASKS = """
INSERT INTO task (batch_id, account, label, user_ref, display, action, state, due_at, outcome, finished_at)
{numbers}
SELECT batch.id, 'zoom', 'medium', 'user' || n, 'user' || n, 'set_password',
       CASE WHEN n <= :finished THEN 'succeeded' ELSE 'pending' END, batch.created_at,
       CASE WHEN n <= :finished THEN 'ok' END, CASE WHEN n <= :finished THEN batch.created_at END
FROM numbers, batch
"""
_ATTEMPTS = """
INSERT INTO attempt (task_id, n, worker, password_no, slot_at, opened_at, sent_at, closed_at, outcome)
SELECT id, 1, 'w0', 1, due_at, due_at, due_at, due_at, 'ok' FROM task WHERE state = 'succeeded'
"""


class Plans:
    """Collects every statement that runs, and asks the database how it goes about each."""

    def __init__(self, store):
        self._store = store
        self._ran = []
        event.listen(store.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, conn, cursor, statement, parameters, context, executemany):
        self._ran.append((statement, parameters))

    async def walked(self):
        """Return (statement, table, index or None) for each walk through a table that a statement makes."""
        found = []
        how = "EXPLAIN QUERY PLAN" if self._store.sqlite else "EXPLAIN (FORMAT JSON)"
        async with self._store.write() as conn:
            for statement, parameters in tuple(self._ran):  # explaining runs statements of its own
                if statement.startswith(("SELECT", "UPDATE", "INSERT", "WITH")) and "set_config" not in statement:
                    rows = (await conn.exec_driver_sql(f"{how} {statement}", parameters)).all()
                    walks = _sqlite_walks(rows) if self._store.sqlite else _postgres_walks(rows)
                    found += [(statement, *walk) for walk in walks]
        return found


def _sqlite_walks(rows):
    for row in rows:
        words = row[3].split()
        if words[0] in ("SCAN", "SEARCH") and words[1] in ("task", "attempt", "other"):
            index = words[words.index("INDEX") + 1] if words[0] == "SEARCH" and "INDEX" in words else None
            yield words[1], index or ("its key" if words[0] == "SEARCH" else None)


def _postgres_walks(rows):
    plan = rows[0][0]
    nodes = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node["Node Type"] in ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"):
            name = node.get("Index Name")
            if node["Node Type"] == "Bitmap Heap Scan":
                name = node["Plans"][0].get("Index Name", "several")
            # A whole walk through an index is no better than one through the table; but that of the leases holds
            # only what is under way.
            bounded = "Index Cond" in node or node["Node Type"] == "Bitmap Heap Scan" or name == "ix_task_lease"
            yield node["Relation Name"], name if bounded else None


@pytest.fixture
async def million(store, order):
    """A batch of a million, nine tenths of it finished, as a run would leave it."""
    await order(["first"])
    async with store.write(batches.LONG) as conn:
        sizes = {"rows": ROWS, "finished": FINISHED}
        numbers = _NUMBERS[conn.dialect.name]
        await conn.execute(text(_TASKS.format(numbers=numbers)), sizes)
        await conn.execute(text(_ATTEMPTS))
        await conn.execute(text("UPDATE batch SET total = total + :rows"), sizes)
    await batches.know_sizes(store)
    return store


async def test_no_statement_of_the_hot_path_walks_a_table(million, order, claim, hand):
    """Claim, record, rescue, finish and a new roster find their rows by an index, however many are finished."""
    plans = Plans(million)
    held = (await claim(50)).claims
    assert len(held) == 50
    await results.record(million, Ledger([succeeded(c, hand.now) for c in held[:25]]))
    hand.pass_(60)
    assert await results.rescue(million) == 25
    await lifecycle.finish(million)
    async with million.read() as conn:
        assert await due.next_due(conn, QUOTA) <= hand.now
    await order(["user950000", "b"])
    walks = [walk for walk in await plans.walked() if walk[1] in ("task", "attempt", "other")]
    assert len(walks) >= 8
    assert [walk for walk in walks if walk[2] is None] == []
    assert {w[2] for w in walks if "ORDER BY task.due_at" in w[0] and "FOR UPDATE" not in w[0]} == {"ix_task_due"}
    assert "uq_task_active" in {w[2] for w in walks if w[0].startswith("INSERT INTO task")}
