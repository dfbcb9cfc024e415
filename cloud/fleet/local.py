"""A cloud and its agents on this machine, as the real processes that an operator would start.

Rules of this module:

- Each process has a home folder below one root: `cloud/` and `devices/<n>/`; nothing is written elsewhere.
- Ready means: the cloud wrote addresses.json with its own process id; the agent answers on its feeder socket.
"""

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.fleet.errors import ProcessFailed
from cloud.fleet.process import LocalProcess
from cloud.fleet.settings import LocalFleetSettings


def command_of(name: str) -> str:
    """Path of a command that was installed beside this interpreter, e.g. "shoal"."""
    return str(Path(sys.executable).parent / name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a running cloud listens.

    Attributes:
        rest: URL of the admin REST API.
        console: URL of the console.
        admin_grpc: host:port of the admin gRPC service.
        device_grpc: host:port of the device gRPC services.
        device_https: URL of the device-facing HTTPS face.
    """

    rest: str
    console: str
    admin_grpc: str
    device_grpc: str
    device_https: str


class LocalCloud:
    """A control plane in a process of its own; `program` is the `shoal` of this installation when it is empty."""

    def __init__(
        self,
        home: Path,
        *,
        namespace: str,
        program: str = "",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        settings: LocalFleetSettings | None = None,
    ) -> None:
        self.home = home
        self._file = home / "addresses.json"
        self.process = LocalProcess(
            [
                program or command_of("shoal"),
                "cloud",
                "serve",
                "--home",
                str(home),
                "--namespace",
                namespace,
                *arguments,
            ],
            log=home / "cloud.log",
            ready=self._listens,
            environment=environment,
            settings=settings,
        )

    def _listens(self, pid: int) -> bool:
        if not self._file.exists():
            return False
        return bool(json.loads(self._file.read_text())["pid"] == pid)

    @property
    def addresses(self) -> Addresses:
        """Where it listens, once it is ready."""
        found = json.loads(self._file.read_text())
        return Addresses(**{name: found[name] for name in Addresses.__dataclass_fields__})

    @property
    def admin_token(self) -> str:
        """The token that the first start wrote for the operator of this machine."""
        return (self.home / "admin.token").read_text().strip()

    @property
    def database_url(self) -> str:
        """URL of the embedded database; its bus lies in it too."""
        return f"sqlite:///{self.home / 'shoal.db'}"

    @property
    def publishing_keys(self) -> Path:
        """Folder of the keys of the embedded default."""
        return self.home / "keys"


class LocalAgent:
    """A device agent in a process of its own; `program` is this installation's `shoal-agent` when it is empty."""

    def __init__(
        self,
        home: Path,
        *,
        program: str = "",
        environment: Mapping[str, str] | None = None,
        settings: LocalFleetSettings | None = None,
    ) -> None:
        self.home = home
        self.socket = home / "agent.sock"
        self._program = program or command_of("shoal-agent")
        self._environment = environment
        self._settings = settings
        self.process = LocalProcess(
            [self._program, "run", "--home", str(home)],
            log=home / "agent.log",
            ready=self._answers,
            environment=environment,
            settings=settings,
        )

    def _answers(self, _pid: int) -> bool:
        """Whether somebody listens on the socket; a socket file of a killed process refuses."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    async def enrol(self, code: str) -> None:
        """Enrols the device with a one-time code.

        Raises:
            ProcessFailed: the agent refused; the message holds its log.
        """
        enrolled = self.home / "identity"
        process = LocalProcess(
            [self._program, "enrol", "--home", str(self.home), "--code", code],
            log=self.home / "agent.log",
            ready=lambda _: enrolled.exists(),
            environment=self._environment,
            settings=self._settings,
        )
        await process.spawn()
        if await process.wait() != 0:
            raise ProcessFailed(f"enrolment failed:\n{process.log_tail()}")
