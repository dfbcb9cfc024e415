"""Database URLs: what names a database that Shoal can use, and what is refused by name without its password."""

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from cloud.store.engines import make_engines
from cloud.store.errors import DatabaseUrlInvalid
from cloud.store.settings import DatabaseSettings
from cloud.store.urls import parse_url, shown

GOOD = [
    ("sqlite:///relative.db", "sqlite+aiosqlite", "relative.db"),
    ("sqlite:////absolute.db", "sqlite+aiosqlite", "/absolute.db"),
    ("sqlite:////with%20blank.db", "sqlite+aiosqlite", "/with blank.db"),
    ("postgresql://ann@host/name", "postgresql+asyncpg", "name"),
    ("postgres://ann:secret@host:5432/name", "postgresql+asyncpg", "name"),
    ("postgresql+psycopg://host/name?ssl=require", "postgresql+asyncpg", "name"),
    ("postgresql://[::1]:5432/name", "postgresql+asyncpg", "name"),
]
BAD = [
    "",
    "nothing",
    "://",
    "sqlite://",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite://relative.db",
    "sqlite://host/file.db",
    "sqlite:////file.db?mode=ro",
    "sqlite://ann@/file.db",
    "postgresql://host",
    "postgresql://host/",
    "postgresql://host:port/name",
    "postgresql://host:5432x/name",
    "mysql://host/name",
    "redis://host",
    "file:///x.db",
]


@pytest.mark.parametrize(("url", "driver", "database"), GOOD)
def test_a_url_that_names_a_database(url: str, driver: str, database: str) -> None:
    parsed = parse_url(url)
    assert (parsed.drivername, parsed.database) == (driver, database)
    writer, reader = make_engines(parsed, DatabaseSettings())
    assert writer.dialect.name == reader.dialect.name == driver.partition("+")[0]


@pytest.mark.parametrize("url", BAD)
def test_a_url_that_names_none(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid, match=r"write|use|needs|names"):
        parse_url(url)


@given(
    st.text(max_size=40)
    | st.text(alphabet="sqlite:/@?=&.%[]0a", max_size=30).map("sqlite:".__add__)
)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        parsed = parse_url(text)
    except DatabaseUrlInvalid:
        return
    assert parsed.database
    assert parsed.get_backend_name() in {"sqlite", "postgresql"}


@pytest.mark.parametrize(
    "url", ["postgresql://ann:s3cret@host/name", "postgres://ann:s3cret@host/name?x=1"]
)
def test_a_password_is_never_shown(url: str) -> None:
    said = shown(parse_url(url))
    assert "s3cret" not in said
    assert "asyncpg" not in said
    assert "ann" in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@host",
        "mysql://ann:s3cret@host/x",
        "postgresql://ann:s3cret@host:port/x",
    ],
)
def test_a_refusal_does_not_show_it_either(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid) as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, sa.exc.ArgumentError)
