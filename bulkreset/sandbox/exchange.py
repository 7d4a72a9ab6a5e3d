"""One call on its way through the sandbox: what was asked, which operation it is, what is answered."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.utils import formatdate
from urllib.parse import parse_qs

from bulkreset.sandbox.directory import User


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer; `code` is the provider's own, for the record."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | int | None = None
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a provider's API; without a label it is free of limits and of authentication."""

    name: str
    label: str | None
    run: "Callable[[Incoming], Reply]"
    scopes: frozenset[str] = frozenset()
    is_write: bool = False  # a password write
    is_revocation: bool = False
    of_user: bool = True  # whether the variable segment of its path, if any, names a user


Routes = Mapping[tuple[str | int, ...], Operation]
"""Operations by method, number of segments, and the segments but for the one that varies."""


@dataclass(slots=True)
class Incoming:
    """One request: the operation, the path segment that names a user, and what came with it."""

    operation: Operation
    ref: str | None = None
    user: User | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    origin: str = ""
    body: bytes = b""
    caller: User | None = None
    password_sha256: str | None = None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters, the last of each name."""
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def urlencoded_form(self) -> dict[str, str]:
        """Return the fields of a body that is a form, the last of each name; none of any other body."""
        if self.content_type != "application/x-www-form-urlencoded":
            return {}
        return {name: values[-1] for name, values in parse_qs(self.body.decode("utf-8", "replace")).items()}

    def multipart_form(self) -> dict[str, object]:
        """Return the fields of a multipart body, the last of each name."""
        head = f"Content-Type: {self.headers.get('Content-Type', '')}\r\n\r\n".encode("latin-1", "replace")
        parts = message_from_bytes(head + self.body).walk()
        return {
            str(name): (part.get_payload(decode=True) or b"").decode("utf-8", "replace")  # type: ignore[union-attr]
            for part in parts
            if (name := part.get_param("name", header="content-disposition")) is not None
        }

    def json_object(self) -> dict[str, object] | None:
        """Return the body as a JSON object, or None where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


def json_reply(
    status: int, value: object, content_type: str, code: str | int | None = None, **headers: str
) -> Reply:
    """Build an answer with a JSON body; underscores in header names become hyphens."""
    return Reply(
        status,
        json.dumps(value, separators=(",", ":")).encode(),
        {"Content-Type": content_type, **{name.replace("_", "-"): text for name, text in headers.items()}},
        code,
    )


def http_date(unix: float) -> str:
    """Format a time as HTTP's own date."""
    return formatdate(unix, usegmt=True)


def iso_date(unix: float) -> str:
    """Format a time as ISO 8601 in UTC, to the second, as Zoom's daily limit does."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
