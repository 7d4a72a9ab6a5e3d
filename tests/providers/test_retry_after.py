"""Every form of Retry-After, and everything else that a header can hold."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkreset.providers.retry_after import LONGEST, parse_retry_after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("93", NOW + timedelta(seconds=93)),
        (" 0 ", NOW),
        ("1.5", NOW + timedelta(seconds=1.5)),
        ("2026-11-23T00:00:00Z", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T01:00:00+01:00", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T00:00:00", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23 00:00:00", datetime(2026, 11, 23, tzinfo=UTC)),
        ("Mon, 23 Nov 2026 00:00:00 GMT", datetime(2026, 11, 23, tzinfo=UTC)),
        ("Monday, 23-Nov-26 00:00:00 GMT", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2020-05-31T00:00:00Z", NOW),  # Zoom's own example, long ago
        ("Sun, 31 May 2020 00:00:00 GMT", NOW),
        ("999999999999999999", NOW + LONGEST),
        ("2099-01-01T00:00:00Z", NOW + LONGEST),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("2026", NOW + timedelta(seconds=2026)),
        ("2026-11-23", None),
        ("9" * 400, None),
    ],
)
def test_every_form_is_read(value, moment):
    """Seconds, ISO 8601 and HTTP-dates name a moment; the past is now, the far future is cut, junk is nothing."""
    assert parse_retry_after(value, NOW) == moment


@given(st.one_of(st.text(), st.datetimes().map(str), st.integers().map(str), st.floats().map(str)))
@example("Mon, 99 Nov 2026 99:99:99 GMT")
@example("0001-01-01T00:00:00+23:59")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("9999-12-31T23:59:59-23:59")
def test_no_value_breaks_it(value):
    """Whatever a provider sends, the result is nothing or a moment between now and two days later."""
    moment = parse_retry_after(value, NOW)
    assert moment is None or NOW <= moment <= NOW + LONGEST


@pytest.mark.parametrize("hours", [-3, 0, 5])
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%a, %d %b %Y %H:%M:%S GMT"])
def test_a_date_counts_from_the_answers_own_clock(hours, form):
    """However far the provider's clock is from ours, a wait of a minute is a minute."""
    theirs = NOW + timedelta(hours=hours)
    date = theirs.strftime("%a, %d %b %Y %H:%M:%S GMT")
    asked = (theirs + timedelta(minutes=1)).strftime(form)
    assert parse_retry_after(asked, NOW, date) == NOW + timedelta(minutes=1)
