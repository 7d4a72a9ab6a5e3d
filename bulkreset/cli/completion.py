"""What the shell offers after TAB: configured accounts and recorded batches; on any fault nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from bulkreset.config import Settings

# Longer than a database at hand takes, shorter than a person waits for TAB.
_PATIENCE_S: Final = 3
_SHOWN: Final = 100


def accounts(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the configured accounts."""
    try:
        configured = _settings(context).accounts
    except Exception:  # noqa: BLE001  (whatever it is, a line on the terminal would break what is being typed)
        return []
    return [(name, account.provider) for name, account in configured.items() if name.startswith(incomplete)]


def batches(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the newest batches, each with its account and state."""
    import asyncio

    try:
        offered = asyncio.run(asyncio.wait_for(_batches(_settings(context)), _PATIENCE_S))
    except Exception:  # noqa: BLE001  (the same)
        return []
    return [(number, words) for number, words in offered if number.startswith(incomplete)]


def _settings(context: typer.Context) -> "Settings":
    from bulkreset.config import load
    from bulkreset.config.discovery import find

    named = context.find_root().params.get("config")
    return load(Path(named) if named else find(), spare_others=True)


async def _batches(settings: "Settings") -> list[tuple[str, str]]:
    from bulkreset.cli.context import opened
    from bulkreset.store.batches import find

    async with opened(settings) as store:
        shown = await find(store)
    newest = sorted(shown, key=lambda batch: -batch.id)[:_SHOWN]
    return [(str(batch.id), f"{batch.account}, {batch.state}") for batch in newest]
