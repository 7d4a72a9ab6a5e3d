"""`bulkreset run`: the runner, in a terminal, under cron or as a service."""

import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bulkreset.cli import rehearsal
from bulkreset.cli.completion import accounts as known_accounts
from bulkreset.cli.context import Invocation, guard, log_level, master_key, opened, start, transport
from bulkreset.cli.output import say

if TYPE_CHECKING:
    from datetime import datetime

    from bulkreset.cli.notices import Notices
    from bulkreset.config import Settings
    from bulkreset.runner.worker import Summary
    from bulkreset.store.batches import Batch
    from bulkreset.store.engine import Store


def run(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when nothing is due within the next minute, as cron wants it.")
    ] = False,
    account: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A", help="Only batches at this account; may be repeated.", autocompletion=known_accounts
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, over a read-only transport, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")] = False,
) -> None:
    """Work on every due batch until stopped.

    The first SIGTERM, SIGHUP or Ctrl-C stops claiming, waits for the calls on their way and records them; a second
    SIGTERM or Ctrl-C ends at once, which is safe too.
    """
    from bulkreset.cli.notices import Notices
    from bulkreset.logs import configure, logger

    invocation: Invocation = context.obj
    settings = invocation.settings(told=False)
    level = log_level()
    live = sys.stderr.isatty() and "BULKRESET_LOG_LEVEL" not in os.environ
    notices = Notices()
    if live:
        configure("warning", notices)  # under the view only what needs a person, and within it
    else:
        configure(level)
    for name, fault in settings.broken.items():
        logger().error("account_unusable", account=name, reason=fault)
    for name in account or []:
        settings.account(name)
    if dry_run:
        found = start(rehearsal.rehearse(settings, account or []))
        if as_json:
            print(json.dumps(rehearsal.as_dict(found), ensure_ascii=False))
        else:
            rehearsal.show(found)
        raise typer.Exit(4 if any(one.would_halt for one in found) else 0)
    code, result = start(work(settings, once=once, accounts=account or [], notices=notices if live else None))
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    raise typer.Exit(code)


async def work(
    settings: "Settings", *, once: bool, accounts: list[str], notices: "Notices | None" = None
) -> tuple[int, dict[str, Any]]:
    """Run a worker to its end; return the exit code and what `--json` shows.

    With `notices` there is a live view on standard error, and these are the lines of the log beneath it.
    """
    import socket

    from bulkreset.cli.frame import after
    from bulkreset.cli.live import LiveView
    from bulkreset.cli.signals import obey_signals
    from bulkreset.intake.orders_by_sql import OrdersBySql
    from bulkreset.providers.http import WriteTransport
    from bulkreset.report.render import batch_core, moment
    from bulkreset.runner.worker import Worker
    from bulkreset.store import batches, escrows, skips
    from bulkreset.store.engine import runner_lock

    async with opened(settings) as store:
        with runner_lock(store):
            async with transport(WriteTransport, settings) as way:
                master = master_key(settings, spare_others=True)
                orders = OrdersBySql(store, settings, way, master)
                worker = Worker(
                    store,
                    settings,
                    way,
                    master,
                    guard=guard(settings),
                    name=f"{socket.gethostname()}:{os.getpid()}",
                    once=once,
                    accounts=accounts,
                    chores=[orders, lambda: escrows.expire(store)],
                )
                orders.allows = worker.may_work_on
                obey_signals(worker, settings)
                _spare_the_loop()
                if notices is not None:
                    async with LiveView(store, worker, settings, accounts, notices):
                        summary = await worker.run()
                else:
                    summary = await worker.run()
            waiting = await orders.waiting()
            shown = await batches.find(store, ids=summary.touched, accounts=accounts, unfinished=True)
            surprises = await skips.surprising(store, [batch.id for batch in shown])
            next_due_at = await _next_due(store, shown) if once else None
    if notices is None:
        _log_end(summary, shown, once=once)
    else:
        for line in after([batch for batch in shown if batch.id in summary.touched]):
            say(line, rest="    ", out=sys.stderr)
    result = {
        "batches": [batch_core(batch) for batch in shown],
        "sent": summary.sent,
        "elapsed_s": round(summary.elapsed_s, 3),
        "next_due_at": moment(next_due_at),
    }
    if next_due_at is not None:
        _tell_next_due(next_due_at, shown, notices)
    return _exit_code(shown, waiting, orders.refused + surprises), result


async def _next_due(store: "Store", shown: list["Batch"]) -> "datetime | None":
    """Return when the first of these batches goes on that wait because of a clock, where none goes on before."""
    from bulkreset.store import due

    async with store.read() as conn:
        waiting = await due.waits(conn, await store.now(conn))
    return min((waiting[batch.id] for batch in shown if batch.id in waiting), default=None)


def _tell_next_due(moment: "datetime", shown: list["Batch"], notices: "Notices | None") -> None:
    from bulkreset.logs import logger

    if notices is None:
        logger().info("due_later", next_due_at=moment.isoformat(), left=sum(batch.left for batch in shown))
    else:
        say(f"nothing is due before {moment:%Y-%m-%d %H:%M:%S} UTC", out=sys.stderr)


def _exit_code(shown: list["Batch"], waiting: int, failed: int) -> int:
    """Say by the exit code what is left or failed, batches and orders by SQL alike.

    Whoever was skipped as ordered (protected, admins, the owner …) has not failed. Where rows were damaged, their
    users are left to be ordered again.
    """
    if waiting or any(batch.left or batch.is_damaged for batch in shown):
        return 4
    if failed or not all(batch.clean for batch in shown):
        return 3
    return 0


def _log_end(summary: "Summary", shown: list["Batch"], *, once: bool) -> None:
    """Log one line a batch that was worked on; a run that found nothing to do stays silent."""
    from bulkreset.logs import logger

    for batch in shown:
        if batch.id in summary.touched:
            counts = {state: n for state, n in batch.counts.items() if n}
            logger().info("batch_state", batch=batch.id, account=batch.account, state=batch.state, counts=counts)
    if summary.sent or not once:
        logger().info("run_ended", sent=summary.sent, elapsed_s=round(summary.elapsed_s, 3))


def _spare_the_loop() -> None:
    """Leave what is loaded by now out of garbage collection.

    A full collection of all modules stopped the event loop for 30 to 110 ms, several slots long.
    """
    gc.collect()
    gc.freeze()
