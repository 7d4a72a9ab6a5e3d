"""`bulkreset demo`: the whole story in half a minute, on this machine alone."""


def demo() -> None:
    """Reset 400 users at stand-ins for Zoom and Zendesk, with every kind of answer among them."""
    raise NotImplementedError
