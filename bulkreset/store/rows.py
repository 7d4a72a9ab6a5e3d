"""Many rows in and out of one statement, as one JSON value.

SQLite's driver gives up and takes back the interpreter lock for every row it binds or fetches. Beside a busy
event loop each of these hand-overs costs more than the row itself, so the hot path sends all rows of a claim
or a record as one parameter and reads them as one value: one hand-over a statement.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import Subquery
from sqlalchemy.types import TypeEngine


def rows_in(name: str, columns: Mapping[str, TypeEngine[Any]]) -> Subquery:
    """Return a relation with these columns, filled by the parameter `name`: the text that `as_json` makes.

    Values are found by their place: found by name, they took both sides half as long again.
    """
    each = func.json_each(bindparam(name)).table_valued("value", name=f"{name}_each")
    return select(
        *(
            type_coerce(func.json_extract(each.c.value, f"$[{place}]"), kind).label(column)
            for place, (column, kind) in enumerate(columns.items())
        )
    ).subquery(name)


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows for `rows_in`, each with its columns in that order; times must already be text."""
    return json.dumps([tuple(row.values()) for row in rows], separators=(",", ":"), ensure_ascii=False)


async def rows_out(conn: AsyncConnection, query: Select[Any]) -> list[list[Any]]:
    """Run a query and return its rows as lists, in its order; times come as the database writes them."""
    packed = select(func.json_group_array(func.json_array(*query.subquery().c)))
    rows: list[list[Any]] = json.loads((await conn.execute(packed)).scalar_one())
    return rows
