"""One suite, both databases: `database` here is a fresh SQLite file, then a fresh PostgreSQL database."""

import pytest

from cloud.store.database import Database


@pytest.fixture
def database(any_database: Database) -> Database:
    """A fresh, migrated database of each kind."""
    return any_database
