"""PostgreSQL: how it is connected to, what bounds each transaction, and what its errors mean."""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bulkreset.errors import ConfigError, NoTables, StoreError
from bulkreset.store.place import PostgresPlace
from bulkreset.store.postgres_tls import tls_of

_CONNECT_BOUND_S: Final = 10
# A connection that nobody used for so long may have been cut by something in between, which a use would find out
# only by failing.
_RECYCLE_S: Final = 300


def postgres_engine(place: PostgresPlace) -> AsyncEngine:
    """Return an engine that holds no session state, so that a transaction pooler may stand in between.

    Raises StoreError where the driver is not installed, and ConfigError where the address cannot be used.
    """
    try:
        import asyncpg
    except ImportError:
        raise StoreError(
            "PostgreSQL needs the driver asyncpg; install it with `pip install 'bulkreset[postgres]'`"
        ) from None

    ssl = tls_of(place.tls)

    async def connect(**_: Any) -> Any:
        more: dict[str, Any] = (
            {"ssl": ssl} if place.password is None else {"ssl": ssl, "password": place.password.reveal()}
        )
        if place.pooled:
            more["statement_cache_size"] = 0
        # No server settings: a pooler refuses those that it does not know.
        try:
            return await asyncpg.connect(place.dsn.reveal(), timeout=_CONNECT_BOUND_S, **more)
        except asyncpg.exceptions.ClientConfigurationError as error:
            fault = _first_line(error)
        except OSError:
            raise  # a certificate that is refused is a ValueError as well
        except ValueError:  # a number in the address or in PGPORT
            fault = "a port is no number"
        raise ConfigError(f"database.url, or the environment's PG…, cannot be used: {fault}")

    arguments: dict[str, Any] = {"async_creator_fn": connect}
    if place.pooled:
        # The next transaction may be on another server, where a named statement is unknown or somebody else's.
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": _unnamed}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args=arguments,
        hide_parameters=True,
        pool_size=place.connections,
        max_overflow=0,
        pool_recycle=_RECYCLE_S,
        pool_use_lifo=True,
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(conn: Connection) -> None:
        bounds = conn.get_execution_options().get("bulkreset_bounds")
        if bounds is not None:
            conn.execute(_BOUNDS, bounds)

    return engine


def bounds(statement: timedelta, lock: timedelta) -> dict[str, str]:
    """Return what a transaction is given to live: for a statement, for a lock, and for doing nothing.

    The last frees the rows of a worker that was stopped or cut off in mid-transaction.
    """
    return {"statement": _ms(statement), "lock": _ms(lock), "idle": _ms(lock)}


def fault(error: BaseException, place: PostgresPlace) -> StoreError:
    """Return the error that stands for one of the driver's."""
    origin = getattr(error, "orig", None) or error
    kind = NoTables if getattr(origin, "sqlstate", None) == _UNDEFINED_TABLE else StoreError
    return kind(explain(error, place))


def explain(error: BaseException, place: PostgresPlace) -> str:
    """Say in one line what an error means and what to do."""
    where = f"the database {place}"
    origin = getattr(error, "orig", None) or error
    state = str(getattr(origin, "sqlstate", None) or "")
    if state in _ADVICE or state[:2] in _ADVICE:
        return f"{where} {_ADVICE.get(state) or _ADVICE[state[:2]]}"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time; bulkreset tries again by itself, commands must be repeated"
    if isinstance(origin, OSError):
        return f"{where} cannot be reached: {origin.strerror or origin}; check that it runs and database.url"
    if isinstance(error, DBAPIError) and state:
        return f"{where} refused a statement ({state}): {_first_line(origin)}"
    return f"{where} lost the connection: {_first_line(origin)}; look at what was done before you repeat a command"


def _first_line(error: BaseException) -> str:
    # SQLAlchemy puts the driver's class before its words.
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return said.rpartition(">: ")[2][:200]


def _ms(time: timedelta) -> str:
    return f"{time // timedelta(milliseconds=1)}ms"


def _unnamed() -> str:
    return ""


# For this transaction only; SET would stay with the connection, and a pooler hands that to somebody else.
_BOUNDS: Final = text(
    "SELECT set_config('statement_timeout', :statement, true), set_config('lock_timeout', :lock, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)

_UNDEFINED_TABLE: Final = "42P01"
_ADVICE: Final = {
    "08": "lost the connection; look at what was done before you repeat a command",
    "22021": "must have the encoding UTF8; create it with `createdb --encoding=UTF8 --template=template0`",
    "22P05": "must have the encoding UTF8; create it with `createdb --encoding=UTF8 --template=template0`",
    "25006": "is read-only, as a standby is; let database.url name the primary (target_session_attrs=read-write)",
    "26": "forgets statements between two transactions, as a pooler does; set pooled = true in [database]",
    "42P05": "mixes up the statements of its clients, as a pooler does; set pooled = true in [database]",
    "28": "refused the login; check the user in database.url and database.password",
    "3D000": "does not exist; create it with `createdb`",
    "40": "undid this transaction for another one's sake; try again",
    _UNDEFINED_TABLE: "has no such tables; run `bulkreset db upgrade`",
    "42501": "refuses this user; grant it the tables, or run as the user that made them",
    "53100": "cannot grow: its disk is full; free some space there",
    "53300": "has no connection left; raise max_connections there, or lower database.connections here",
    "55P03": "kept a row locked by another worker; try again",
    "57014": "took too long over a statement and gave it up; try again when it is less busy",
    "57": "is shutting down or starting up; try again in a moment",
    "25P03": "ended a transaction that had stood still; try again",
    "58": "reports an error of its disk or system; see its log",
    "XX": "is damaged or met an error of its own; see its log",
}
