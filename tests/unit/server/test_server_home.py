import json
import socket
import stat
from pathlib import Path

import pytest

from cloud.server.errors import CloudHomeInUse, PortTaken
from cloud.server.faces import bind
from cloud.server.home import Addresses, CloudHome

ADDRESSES = Addresses(
    rest="http://127.0.0.1:1",
    console="http://127.0.0.1:1/console/",
    admin_grpc="127.0.0.1:2",
    device_grpc="127.0.0.1:3",
    device_https="https://127.0.0.1:4",
    pid=7,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_the_owners_alone_and_held_by_one(tmp_path: Path) -> None:
    home = CloudHome(tmp_path / "home")
    with home.locked():
        assert mode(home.path) == 0o700
        with pytest.raises(CloudHomeInUse, match="another cloud"), CloudHome(home.path).locked():
            raise AssertionError("two hold one home")
    with CloudHome(home.path).locked():
        pass


def test_addresses_come_whole_and_go_at_the_end(tmp_path: Path) -> None:
    home = CloudHome(tmp_path)
    with home.announced(ADDRESSES):
        assert json.loads(home.addresses.read_text())["device_grpc"] == "127.0.0.1:3"
        assert [path.name for path in tmp_path.iterdir()] == ["addresses.json"]
    assert not home.addresses.exists()


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    home = CloudHome(tmp_path)
    home.write_private(home.admin_token, b"secret")
    assert mode(home.admin_token) == 0o600


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            bind("127.0.0.1", port)
