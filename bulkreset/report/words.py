"""How reports and commands say how long, when and how many."""

from datetime import datetime


def duration(seconds: float) -> str:
    """Say a length of time in the two units that matter."""
    whole = round(seconds)
    if whole < 1:
        return "a second"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    said = [f"{n} {unit}" for n, unit in parts if n]
    return " ".join(said[:2])


def clock(at: datetime, now: datetime) -> str:
    """Say when, in UTC: the time today, with the date on another day."""
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def passwords_in_words(count: int) -> str:
    """Say how many passwords."""
    return f"{count:,} password{'' if count == 1 else 's'}"


def batches_in_words(count: int) -> str:
    """Say how many batches."""
    return f"{count:,} {'batch' if count == 1 else 'batches'}"


def broken_account(account: str, fault: str) -> str:
    """Say that one account's part of the configuration stops that account."""
    return f"account {account!r} cannot be used: {fault}"
