"""Many rows in and out of one statement, as one JSON value.

SQLite's driver gives up and takes back the interpreter lock for every row it binds or fetches. Beside a busy
event loop each of these hand-overs costs more than the row itself, so the hot path sends all rows of a claim
or a record as one parameter and reads them as one value: one hand-over a statement. PostgreSQL takes the same
parameter, and saves the round trips; rows it hands out well enough by itself.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Integer,
    Label,
    LargeBinary,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.types import TypeEngine

from bulkreset.store.column_types import UtcDateTime


def rows_in(name: str, columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """Return a relation with these columns, filled by the parameter `name`: the text that `as_json` makes.

    Values are found by their place: found by name, they took both sides half as long again.
    """
    each = _Each(bindparam(name, type_=Text())).table_valued("value", name=f"{name}_each")
    return select(
        *(
            type_coerce(_At(each.c.value, literal_column(str(place)), literal_column(_KINDS[type(kind)])), kind)
            .label(column)
            for place, (column, kind) in enumerate(columns.items())
        )
    ).subquery(name)  # fmt: skip


def as_json(rows: Sequence[Mapping[str, Any] | tuple[Any, ...]]) -> str:
    """Write rows for `rows_in`, each with its columns in that order; times must already be text."""
    plain = [tuple(row.values()) if isinstance(row, Mapping) else row for row in rows]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def as_written(column: Column[Any]) -> Label[bytes]:
    """Return a column's text as bytes: what another system wrote need not be text, not even what its type says."""
    return _AsBytes(column).label(column.key)


def is_after(conn: AsyncConnection, column: Column[Any], last: bytes) -> ColumnElement[bool]:
    """Whether a text comes after another one, which is given as it was `as_written`, so that a page goes on there.

    At SQLite a damaged text need not be UTF-8, and is compared by its very bytes; what is no text is on no page.
    """
    if conn.dialect.name == "sqlite":
        return and_(func.typeof(column) == "text", column > cast(literal(last, LargeBinary), Text))
    return column > last.decode()


def readable(value: Any) -> Any:
    """Return a value of a row as it is, and bytes as text: SQLite keeps whatever it is given."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


async def rows_out(conn: AsyncConnection, query: Select[Any]) -> list[list[Any]]:
    """Run a query and return its rows as lists, in its order; times come as the driver gives them."""
    if conn.dialect.name == "postgresql":
        return [list(row) for row in await conn.execute(query)]
    packed = select(func.json_group_array(func.json_array(*query.subquery().c)))
    rows: list[list[Any]] = json.loads((await conn.execute(packed)).scalar_one())
    return rows


class _AsBytes(FunctionElement[bytes]):
    """A value as the text that the database would show, in UTF-8."""

    name = "as_bytes"
    type = LargeBinary()
    inherit_cache = True


class _Each(FunctionElement[Any]):
    """The elements of a JSON array, one a row."""

    name = "each"
    inherit_cache = True


class _At(FunctionElement[Any]):
    """One value of a JSON array: the array, its place, and the kind of the value at PostgreSQL."""

    name = "at"
    inherit_cache = True


def _spell(element: type[FunctionElement[Any]], dialect: str, template: str) -> None:
    """Say how a database writes a function of its arguments, which stand in the template by number."""

    @compiles(element, dialect)
    def spelled(call: FunctionElement[Any], compiler: SQLCompiler, **options: Any) -> str:
        return template.format(*(compiler.process(part, **options) for part in call.clauses))


_spell(_AsBytes, "sqlite", "CAST({0} AS BLOB)")
_spell(_AsBytes, "postgresql", "convert_to(CAST({0} AS TEXT), 'UTF8')")
_spell(_Each, "sqlite", "json_each({0})")
_spell(_Each, "postgresql", "jsonb_array_elements(CAST({0} AS JSONB))")
_spell(_At, "sqlite", "json_extract({0}, '$[{1}]')")


@compiles(_At, "postgresql")
def _at_postgresql(element: _At, compiler: SQLCompiler, **options: Any) -> str:
    array, place, kind = (compiler.process(part, **options) for part in element.clauses)
    value = f"CAST({array} ->> {place} AS {kind})"
    return f"({value} AT TIME ZONE 'UTC')" if kind == "TIMESTAMP" else value


_KINDS: Final[dict[type[TypeEngine[Any]], str]] = {
    BigInteger: "BIGINT",
    Integer: "BIGINT",
    Boolean: "BOOLEAN",
    Text: "TEXT",
    # The text has no offset: it is UTC, whatever the session's own zone.
    UtcDateTime: "TIMESTAMP",
}
