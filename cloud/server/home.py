"""The home folder of a cloud process: what lies where, who may run in it, and where it listens.

Rules of this module:

- One process a home: a lock on HOME/cloud.lock, which the system frees when the process ends, however it ends.
- HOME and its secrets are the owner's alone (0700, 0600).
- addresses.json appears by one rename when all sockets listen, and goes at a clean stop; whoever reads it compares
  the process id, because a killed process leaves it behind.
- A port that the system chose is remembered: enrolled devices come back to it after a restart.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec

from cloud.keys.files import sync_folder
from cloud.server.errors import CloudHomeInUse, SettingsInvalid
from device_agent.failpoint import failpoint

type Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a cloud process listens.

    Attributes:
        rest: URL of REST, health and metrics.
        console: URL of the console.
        admin_grpc: host:port of the operators' gRPC.
        device_grpc: host:port of the devices' gRPC.
        device_https: URL of the devices' HTTPS face.
        pid: Process id.
    """

    rest: str
    console: str
    admin_grpc: str
    device_grpc: str
    device_https: str
    pid: int


class CloudHome:
    """Names of what lies in a home."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "keys"
        self.database = path / "shoal.db"
        self.artifacts = path / "artifacts"
        self.addresses = path / "addresses.json"
        self.admin_token = path / "admin.token"
        self.run = path / "run"

    @property
    def database_url(self) -> str:
        """URL of the embedded database."""
        return f"sqlite:///{quote(str(self.database.resolve()))}"  # a folder may be called anything

    @property
    def artifacts_url(self) -> str:
        """URL of the local artifact folder."""
        return self.artifacts.resolve().as_uri()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the home for this process.

        Raises:
            CloudHomeInUse: Another process holds it.
        """
        self.path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        for folder in (self.artifacts, self.run):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        with (self.path / "cloud.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CloudHomeInUse(
                    f"another cloud runs in {self.path}: stop it, or choose another --home"
                ) from None
            yield

    def write_private(self, path: Path, data: bytes) -> None:
        """Writes a file that only the owner reads, whole or not at all, and durably."""
        working = path.with_name(f".{path.name}.new")
        descriptor = os.open(working, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoint("server.file.written")
        working.replace(path)
        sync_folder(path.parent)

    def remembered_port(self, face: str) -> int:
        """The port that an earlier start got for a face; 0 when there was none."""
        return self._ports().get(face, 0)

    def remember_ports(self, **ports: int) -> None:
        """Keeps the ports of the faces for later starts."""
        if self._ports() != ports:
            self.write_private(self.run / "ports.json", json.dumps(ports).encode())

    def _ports(self) -> dict[str, int]:
        file = self.run / "ports.json"
        if not file.exists():
            return {}
        try:
            return msgspec.json.decode(file.read_bytes(), type=dict[str, Port])
        except (ValueError, RecursionError) as error:
            raise SettingsInvalid(
                f"{file} is damaged ({error}): name the four ports that devices and operators know, or remove the file "
                "to have others"
            ) from None

    @contextmanager
    def announced(self, addresses: Addresses) -> Iterator[None]:
        """Writes addresses.json, and removes it at the end."""
        self.write_private(self.addresses, json.dumps(asdict(addresses), indent=2).encode() + b"\n")
        try:
            yield
        finally:
            self.addresses.unlink(missing_ok=True)
