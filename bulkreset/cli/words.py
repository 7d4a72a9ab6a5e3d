"""How commands say things."""


def duration(seconds: float) -> str:
    """Say a length of time in the two units that matter."""
    whole = round(seconds)
    if whole < 1:
        return "a second"
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    said = [f"{n} {unit}" for n, unit in parts if n]
    return " ".join(said[:2])
