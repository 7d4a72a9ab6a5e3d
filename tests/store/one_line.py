"""What every error must be: one line, without the password."""

PASSWORD = "hunter2-Ω/&?"


def one_line(caught, *words):
    said = str(caught.value)
    assert "\n" not in said
    assert PASSWORD not in said
    for word in words:
        assert word in said
    return said
