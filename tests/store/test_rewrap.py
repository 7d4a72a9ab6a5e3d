"""Exchanging the master key: what becomes of the keys of batches."""

import pytest
from closings import rows

from bulkreset.errors import KeyMismatch
from bulkreset.store import audit, keys


async def test_all_batch_keys_are_put_under_another_key_or_none(store, order):
    """Those that are under it already are left alone; a key that cannot be opened undoes the rest."""
    first, second = await order(["a"]), await order(["b"])
    assert await keys.rewrap(store, "tester", lambda wrapped: wrapped + "'") == [first, second]
    assert await keys.rewrap(store, "tester", lambda wrapped: wrapped) == []

    def second_is_lost(wrapped, seen=[]):  # noqa: B006  (counts over both calls)
        seen.append(wrapped)
        if len(seen) == 2:
            raise KeyMismatch("lost")
        return wrapped + "'"

    with pytest.raises(KeyMismatch):
        await keys.rewrap(store, "tester", second_is_lost)
    assert await rows(store, "SELECT wrapped_key FROM batch ORDER BY id") == [("key'",), ("key'",)]
    found = await rows(store, f"SELECT kind FROM event WHERE batch_id = {first} ORDER BY seq")
    assert found == [("created",), ("rewrapped",)]
    async with store.read() as conn:
        assert await audit.verify(conn, first) is None
