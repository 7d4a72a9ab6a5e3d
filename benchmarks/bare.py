"""The yardstick: the same calls made by a bare aiohttp loop that keeps no record of anything.

`python -m benchmarks.bare URL USERS CONCURRENCY` logs in, sends one call for each user, and prints the seconds
between the first call and the last answer.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator
from time import monotonic

import aiohttp


async def loop(url: str, users: int, concurrency: int) -> float:
    """Send one call for each user, `concurrency` at a time; return the seconds that took."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        login = aiohttp.BasicAuth("sandbox-client-id", "sandbox-client-secret")
        form = {"grant_type": "account_credentials", "account_id": "sandbox-account-id"}
        async with session.post(f"{url}/oauth/token", auth=login, data=form) as answer:
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        numbers = iter(range(1, users + 1))
        started = monotonic()
        await asyncio.gather(*(_worker(session, url, headers, numbers) for _ in range(concurrency)))
        return monotonic() - started


async def _worker(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], numbers: Iterator[int]
) -> None:
    for number in numbers:
        # Dots between, since one in a thousand at random has a run that the mock server refuses.
        password = f"Aa1!{'.'.join(secrets.token_hex(6))}"
        body = json.dumps({"password": password}).encode()
        target = f"{url}/v2/users/user{number:05d}%40example.com/password"
        async with session.put(target, data=body, headers=headers) as answer:
            await answer.read()
            if answer.status != 204:
                raise SystemExit(f"HTTP {answer.status}: {await answer.text()}")


if __name__ == "__main__":
    seconds = asyncio.run(loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps({"seconds": seconds}))
