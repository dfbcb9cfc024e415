"""What a cloud is started with, of every bad kind: named, and nothing half-made; and homes and hosts of any name."""

import json
import os
import socket
import string
from dataclasses import fields
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloud.artifacts.blobs import BlobStore
from cloud.server.errors import PortTaken, SettingsInvalid
from cloud.server.faces import GrpcFace, bind, place
from cloud.server.home import CloudHome
from cloud.server.settings import PAUSE_MS_MAX, ServerSettings, read_settings
from cloud.store.database import Database
from device_agent.tasks.fetch import check_address
from device_agent.tasks.names import sha256_digest

DEFAULTS = {field.name: field.default for field in fields(ServerSettings)}
quiet = hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
ODD_NAMES = ["plain", "a b", "a?b", "a#b", "a%41b", "a%b", "ä☃", "a'b", "a;b", "a&b=c", "+"]
values: st.SearchStrategy[Any] = (
    st.booleans()
    | st.integers()
    | st.text(string.printable, max_size=9)
    | st.lists(st.integers(), max_size=2)
)


def written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value)


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"rest_port = " + b"9" * 5_000,
        b"rest_port = 0x" + b"f" * 5_000,
        b"host = 0b" + b"1" * 20_000,
        b"x = " + b"[" * 20_000,
        b"home = 1979-05-27",
        b"namespaces = 'a/b'",
        b"[host]",
    ],
    ids=["no utf-8", "digits", "hex", "binary", "deep", "date", "text", "table"],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cloud.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid):
        read_settings({"home": tmp_path}, {}, file)
    with pytest.raises(SettingsInvalid, match="cannot read"):
        read_settings({"home": tmp_path}, {}, tmp_path)


@quiet
@given(st.dictionaries(st.sampled_from([*DEFAULTS, "other"]), values, max_size=4))
def test_a_file_is_taken_whole_or_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text("\n".join(f"{name} = {written(value)}" for name, value in content.items()))
    flags = {} if "home" in content else {"home": tmp_path}
    try:
        settings = read_settings(flags, {}, file)
    except SettingsInvalid:
        return
    assert "other" not in content
    for name, value in content.items():
        found = getattr(settings, name)
        assert type(found) is type(DEFAULTS[name]) or name == "home"
        if isinstance(DEFAULTS[name], tuple):  # names, which TOML may hold as other values
            assert found == tuple(map(str, value))
        elif name != "home":
            assert found == value


@quiet
@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(max_size=12), max_size=4))
def test_variables_are_taken_or_refused(tmp_path: Path, texts: dict[str, str]) -> None:
    variables = {f"SHOAL_CLOUD_{name.upper()}": text for name, text in texts.items()}
    try:
        settings = read_settings({"home": tmp_path}, variables)
    except SettingsInvalid:
        return
    assert settings.home == tmp_path, "a flag is over a variable"
    for name, text in texts.items():
        if isinstance(DEFAULTS[name], str):
            assert getattr(settings, name) == (text or DEFAULTS[name])


@pytest.mark.parametrize(
    "name", ["refresh_ms", "drain_ms", "sync_interval_ms", "sync_stepping_interval_ms"]
)
@pytest.mark.parametrize("value", [-1, 0, PAUSE_MS_MAX + 1, 10**30])
def test_a_pause_that_no_clock_waits_is_refused(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        read_settings({"home": tmp_path, name: value}, {})
    assert getattr(read_settings({"home": tmp_path, name: PAUSE_MS_MAX}, {}), name) == PAUSE_MS_MAX


def test_the_home_of_nobody_is_named() -> None:
    with pytest.raises(SettingsInvalid, match="nobody-of-that-name"):
        read_settings({"home": "~nobody-of-that-name/cloud"}, {})


# --- homes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_home_of_any_name_holds_its_own_database_and_files(
    tmp_path: Path, name: str
) -> None:
    home = CloudHome(tmp_path / name)
    with home.locked():
        database = await Database.open(home.database_url)
        async with database.begin() as connection:
            await connection.execute(sa.text("CREATE TABLE t (x INTEGER)"))
        await database.close()
        blobs = BlobStore.open(home.artifacts_url)
        await blobs.put(b"content")
        assert await blobs.get(sha256_digest(b"content")) == b"content"
    assert home.database.exists()
    assert os.listdir(tmp_path) == [name], "and nothing lies beside it"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"rest": "80"}',
        b'{"rest": 65536}',
        b'{"rest": -1}',
        b'{"rest": null}',
        b"\xff",
        b"[" * 9_000,
    ],
)
def test_damaged_ports_are_named_with_the_file(tmp_path: Path, content: bytes) -> None:
    """Others would be chosen in silence, and no device would find them."""
    home = CloudHome(tmp_path)
    with home.locked():
        home.remember_ports(rest=1, device_grpc=2)
        assert (home.remembered_port("rest"), home.remembered_port("admin_grpc")) == (1, 0)
        (home.run / "ports.json").write_bytes(content)
        with pytest.raises(SettingsInvalid, match=r"ports\.json is damaged"):
            home.remembered_port("rest")
        (home.run / "ports.json").unlink()
        assert home.remembered_port("rest") == 0


# --- hosts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:7"),
        ("localhost", "localhost:7"),
        ("::1", "[::1]:7"),
        ("fe80::1", "[fe80::1]:7"),
    ],
)
def test_a_place_is_written_as_urls_and_grpc_read_it(host: str, expected: str) -> None:
    assert place(host, 7) == expected
    assert check_address(f"https://{place(host, 7)}") == (host, 7)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_grpc_listens_on_both_kinds_of_addresses(host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    face = GrpcFace(grpc.aio.server(), host, 0, 10)
    assert face.port > 0
    made = bind(host, 0)
    taken = made.getsockname()[1]
    with pytest.raises(PortTaken, match="choose another port"):
        bind(host, taken)
    made.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "1.2.3.4"])
def test_a_host_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(PortTaken, match="cannot listen on"):
        bind(host, 0)
