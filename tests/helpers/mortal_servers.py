"""PostgreSQL and Redis that keep what they answered, to be killed with SIGKILL and started again on the same data.

with mortal_postgres() as postgres, mortal_redis() as redis:
    postgres.kill()
    postgres.start()
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.servers import (
    INSTALL,
    ServerMissing,
    _folder,
    _give_to_postgres,
    _initialise,
    _postgres_answers,
    _postgres_programs,
    _redis_answers,
    _wait_until,
    free_port,
)


class MortalServer:
    """A server process on data that outlives it.

    Attributes:
        url: Where it listens; stays the same.
        kills: How often it was killed.
    """

    def __init__(
        self,
        url: str,
        command: list[str],
        *,
        log: Path,
        answers: Callable[[], bool],
        user: str | None = None,
    ) -> None:
        self.url = url
        self.kills = 0
        self._command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        self._log = log
        self._answers = answers
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                user=self._user,
                cwd="/",
            )
        _wait_until(self._answers, self._process, self._log)

    def kill(self) -> None:
        """SIGKILL to it and to what it has started: nothing is flushed, nobody says goodbye."""
        assert self._process is not None
        pid = self._process.pid
        family = [pid, *_children(pid)]
        for one in family:
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self.kills += 1


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def mortal_postgres() -> Iterator[MortalServer]:
    """PostgreSQL that answers a commit when it would survive the death of its processes."""
    programs, port = _postgres_programs(), free_port()
    with _folder("shoal-mortal-postgres-") as folder:
        user = _give_to_postgres(folder)
        prefix = ["runuser", "-u", user, "--"] if user is not None else []
        data, log = folder / "data", folder / "log"
        _initialise([*prefix, str(programs / "initdb")], data)
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            # The machine lives on: what was written to the system is kept without waiting for its disk.
            "fsync": "off",
            "synchronous_commit": "on",
        }
        command = [str(programs / "postgres"), "-D", str(data)]
        command += [f"--{name}={value}" for name, value in options.items()]
        server = MortalServer(
            f"postgresql://shoal@127.0.0.1:{port}/postgres",
            command,
            log=log,
            answers=lambda: _postgres_answers(programs, port, log),
            user=user,
        )
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def mortal_redis() -> Iterator[MortalServer]:
    """Redis as it should run: every write in its log before it is answered, nothing evicted."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerMissing(f"redis-server is not installed: {INSTALL}")
    port = free_port()
    with _folder("shoal-mortal-redis-") as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        command += ["--maxmemory-policy", "noeviction"]
        server = MortalServer(
            f"redis://127.0.0.1:{port}/0",
            command,
            log=folder / "log",
            answers=lambda: _redis_answers(port),
        )
        server.start()
        try:
            yield server
        finally:
            server.kill()
