"""Database URLs as users write them, and the drivers behind them.

Rules of this module:

- Users write `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`; drivers are ours.
- A message that shows a URL hides its password.
"""

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from cloud.store.errors import DatabaseUrlInvalid

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
_ASYNC_DRIVERS = {SQLITE: "sqlite+aiosqlite", POSTGRESQL: "postgresql+asyncpg"}


def parse_url(url: str) -> sa.URL:
    """The URL with the asynchronous driver that Shoal uses.

    Raises:
        DatabaseUrlInvalid: it is not a URL of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number is a plain ValueError
        raise DatabaseUrlInvalid(
            "the database URL cannot be read; write sqlite:///file or postgresql://user@host/name"
        ) from None
    dialect = parsed.get_backend_name()
    if dialect == "postgres":
        dialect = POSTGRESQL
    if dialect not in _ASYNC_DRIVERS:
        raise DatabaseUrlInvalid(
            f"{dialect} is not supported; use sqlite:///file or postgresql://user@host/name"
        )
    if dialect == SQLITE and parsed.database in {None, "", ":memory:"}:
        raise DatabaseUrlInvalid("SQLite needs a file, so that all connections see one database")
    if dialect == SQLITE and (parsed.host or parsed.port or parsed.username or parsed.query):
        raise DatabaseUrlInvalid(
            "SQLite's URL names a file and nothing else; write sqlite:///relative.db or sqlite:////absolute.db"
        )
    if dialect == POSTGRESQL and not parsed.database:
        raise DatabaseUrlInvalid(f"{shown(parsed)} names no database; end it with /name")
    return parsed.set(drivername=_ASYNC_DRIVERS[dialect])


def shown(url: sa.URL) -> str:
    """The URL without its password and driver, for messages and logs."""
    plain = url.set(drivername=url.get_backend_name())
    return plain.render_as_string(hide_password=True)
