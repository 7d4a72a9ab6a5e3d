"""Claim and record in this process, with nothing sent between them.

`python -m benchmarks.claiming CONFIG` works on the one batch there is and prints, as one line of JSON, the tasks a
second of each round of claims and records, and the seconds that each claim of 100 tasks took.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Final

from benchmarks.installation import TENANT
from bulkreset.cli.context import master_key
from bulkreset.config import load
from bulkreset.limits.quota import Spacing
from bulkreset.limits.rates import SECOND, Rate
from bulkreset.model import Claim, Outcome, Quota, Result, Verdict
from bulkreset.runner.decide import decide
from bulkreset.runner.keyring import Keyring
from bulkreset.store import claims, results
from bulkreset.store.engine import Store, open_store
from bulkreset.store.quotas import Window
from bulkreset.store.results import Closing, Ledger

_QUOTA: Final = Quota(TENANT, "medium")
_SPACING: Final = Spacing.of(Rate(1_000_000, SECOND))
_WINDOW: Final = Window(timedelta(0), timedelta(seconds=2))
_CLAIMS: Final = 50
_OF: Final = 100  # tasks of a timed claim
_MOST: Final = 500  # tasks of a claim in a round, as the runner claims them
_PER_ROUND: Final = 10
_ROUNDS: Final = 4


async def measure(config: Path) -> dict[str, list[float]]:
    """Time claims whose tasks go back, then rounds of claim and record whose tasks are finished."""
    settings = load(config)
    store = await open_store(settings.database, settings.base)
    sealer = Keyring(master_key(settings))
    try:
        claim_s = [await _claim_and_return(store, sealer) for _ in range(_CLAIMS)]
        rates = [await _round(store, sealer) for _ in range(_ROUNDS)]
        return {"tasks_per_s": rates, "claim_s": claim_s[5:]}  # the first ones fill the caches
    finally:
        await store.close()


async def _claim_and_return(store: Store, sealer: Keyring) -> float:
    began = perf_counter()
    claims = await _claim(store, sealer, _OF)
    took = perf_counter() - began
    if len(claims) != _OF:
        sys.exit(f"a claim of {_OF} tasks brought {len(claims)}")
    await _record(store, claims, Verdict(Outcome.RELEASED))
    return took


async def _round(store: Store, sealer: Keyring) -> float:
    """Claim and record side by side, as the claimer and the recorder of a runner do; return tasks a second."""
    claimed: asyncio.Queue[list[Claim] | None] = asyncio.Queue(maxsize=1)

    async def claim_all() -> int:
        done = 0
        for _ in range(_PER_ROUND):
            claims = await _claim(store, sealer, _MOST)
            done += len(claims)
            await claimed.put(claims)
        await claimed.put(None)
        return done

    async def record_all() -> None:
        while (claims := await claimed.get()) is not None:
            await _record(store, claims, Verdict(Outcome.OK, 204, request_id="a-tracking-id-of-the-provider"))

    began = perf_counter()
    done, _ = await asyncio.gather(claim_all(), record_all())
    return done / (perf_counter() - began)


async def _claim(store: Store, sealer: Keyring, most: int) -> list[Claim]:
    claimed = await claims.claim(
        store,
        _QUOTA,
        _SPACING,
        sealer=sealer,
        worker="benchmark:1",
        window=_WINDOW,
        most=most,
        lease=timedelta(minutes=1),
    )
    return claimed.claims


async def _record(store: Store, claims: list[Claim], verdict: Verdict) -> None:
    now = datetime.now(UTC)
    closings = [
        Closing(Result(claim, verdict, now, now, 12), decide(claim, verdict, now=now, jitter=0))
        for claim in claims
    ]
    await results.record(store, Ledger(closings))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))
