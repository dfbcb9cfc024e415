"""Fixtures for all tests. Every server is a real one, started for the session and stopped by its process id."""

import asyncio
import itertools
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings
from sqlalchemy.engine import make_url

from cloud.store.database import Database
from cloud.store.schema import migrate
from tests.helpers.servers import postgres_server, redis_server

# Machines are noisy: no example is wrong for being slow. A red one prints what replays it.
settings.register_profile("shoal", deadline=None, print_blob=True)
settings.load_profile("shoal")

TEMPLATE = "shoal_template"
_numbers = itertools.count(1)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'shoal.db'}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def migrated_sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a fresh, migrated SQLite database."""
    shutil.copyfile(sqlite_template, tmp_path / "shoal.db")
    return f"sqlite:///{tmp_path / 'shoal.db'}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--database=postgresql` runs every test that takes a `database` on a real PostgreSQL server."""
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --database, tests that take no database are left out: they would only run a second time."""
    if config.getoption("--database") == "sqlite":
        return
    takes = [item for item in items if "database_url" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in takes])
    items[:] = takes


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh, migrated database: SQLite, or what --database says."""
    kind = request.config.getoption("--database")
    name = "migrated_sqlite_url" if kind == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database: SQLite, or what --database says."""
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a real PostgreSQL server's first database."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> str:
    """Name of a migrated database on the server, to be copied."""
    asyncio.run(_sql(postgres, f"CREATE DATABASE {TEMPLATE}"))
    migrate(_database_url(postgres, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def empty_postgres_url(postgres: str) -> Iterator[str]:
    """URL of a fresh PostgreSQL database without a schema."""
    yield from _fresh_postgres(postgres, "template1")


@pytest.fixture
def postgres_url(postgres: str, postgres_template: str) -> Iterator[str]:
    """URL of a fresh, migrated PostgreSQL database."""
    yield from _fresh_postgres(postgres, postgres_template)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a real Redis server; tests share it, so each takes a key prefix of its own."""
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_prefix() -> str:
    """Prefix for the keys of one test."""
    return f"test{next(_numbers)}:"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh, migrated database: the test runs on SQLite and on PostgreSQL."""
    name = "migrated_sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture(params=["sqlite", "postgresql"])
def any_empty_url(request: pytest.FixtureRequest) -> str:
    """URL of a database without a schema: the test runs on SQLite and on PostgreSQL."""
    name = "sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
async def any_database(any_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database: the test runs on SQLite and on PostgreSQL."""
    opened = await Database.open(any_url)
    yield opened
    await opened.close()


def _fresh_postgres(server: str, template: str) -> Iterator[str]:
    name = f"shoal_test_{next(_numbers)}"
    asyncio.run(_sql(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _database_url(server, name)
    asyncio.run(_sql(server, f"DROP DATABASE {name} WITH (FORCE)"))


def _database_url(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
