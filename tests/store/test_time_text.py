"""Times as text: one form, whichever way they come."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from bulkreset.store.column_types import slot_text, time_of, time_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=2_900_000)).map(lambda passed: EPOCH + passed)


@given(moments)
def test_a_slot_and_its_time_are_written_alike(moment):
    """26 characters, whatever the fraction, so that text order is time order."""
    slot_us = (moment - EPOCH) // timedelta(microseconds=1)
    assert slot_text(slot_us) == time_text(moment)
    assert len(slot_text(slot_us)) == 26


@given(moments, st.integers(-14, 14))
def test_a_time_is_read_back_as_it_was(moment, hours):
    """An offset is only another way to write the same moment."""
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert time_of(time_text(elsewhere)) == moment
