"""Fixtures for all tests. Every server is a real one, started for the session and stopped by its process id."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.store.database import Database
from cloud.store.tables import metadata


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'shoal.db'}"


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    """An empty SQLite database with the schema."""
    opened = await Database.open(sqlite_url)
    async with opened.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield opened
    await opened.close()
