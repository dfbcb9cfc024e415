"""Real PostgreSQL and Redis servers for tests: loopback, free port, own folder, stopped by process id.

Rules of this module:

- A missing server fails the test with the command that installs it; no test is skipped for it.
- A server that does not come up in time fails with the end of its log.

Example:

    with redis_server(folder) as url:
        ...
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

INSTALL = "run deploy/setup/servers.sh (as root), which installs the servers of the tests"
START_S_MAX = 30.0
STOP_S_MAX = 15.0
POLL_S = 0.02


class ServerMissing(AssertionError):
    """A server's program is not installed; the message has the command that installs it."""


@contextmanager
def redis_server(port: int | None = None) -> Iterator[str]:
    """A Redis server that keeps nothing on disk, on a free port or the one named; gives its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerMissing(f"redis-server is not installed: {INSTALL}")
    port = port or free_port()
    with _folder("shoal-redis-") as folder:
        log = folder / "log"
        arguments = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        arguments += ["--save", "", "--appendonly", "no"]
        with _process(arguments, log) as process:
            _wait_until(lambda: _redis_answers(port), process, log)
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server without durability (tests kill nothing of it); gives the URL of its first database."""
    programs = _postgres_programs()
    port = free_port()
    with _folder("shoal-postgres-") as folder:
        user = _give_to_postgres(folder)
        prefix = ["runuser", "-u", user, "--"] if user is not None else []
        data, log = folder / "data", folder / "log"
        _initialise([*prefix, str(programs / "initdb")], data)
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        # Not through runuser: it would stay between us and the server, and we stop by process id.
        arguments = [str(programs / "postgres"), "-D", str(data)]
        arguments += [f"--{name}={value}" for name, value in options.items()]
        with _process(arguments, log, user=user, stop=signal.SIGINT) as process:
            _wait_until(lambda: _postgres_answers(programs, port, log), process, log)
            yield f"postgresql://shoal@127.0.0.1:{port}/postgres"


def free_port() -> int:
    """A TCP port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        raise ServerMissing(f"PostgreSQL is not installed: {INSTALL}")
    return Path(on_path).parent


def _give_to_postgres(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: as root, the folder goes to the package's user."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise ServerMissing(f"there is no user postgres: {INSTALL}") from None
    shutil.chown(folder, "postgres")
    return "postgres"


def _initialise(initdb: list[str], data: Path) -> None:
    arguments = [*initdb, "-D", str(data), "-U", "shoal", "--auth=trust", "--no-sync"]
    arguments += ["--encoding=UTF8", "--locale=C.UTF-8"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, f"initdb failed: {done.stdout}{done.stderr}"


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    # Under the system's temporary folder, because another user (postgres) must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(
    arguments: list[str], log: Path, *, user: str | None = None, stop: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    # A test run that is killed takes its servers along; setpriv becomes the server, so the process id is the server's.
    arguments = ["setpriv", "--pdeathsig", signal.Signals(stop).name, "--", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=output, stdin=subprocess.DEVNULL, user=user, cwd="/"
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    never = Event()
    while not answers():
        late = time.monotonic() > deadline
        if late or process.poll() is not None:
            tail = log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"{process.args!r} did not come up: {tail}")
        never.wait(POLL_S)


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _postgres_answers(programs: Path, port: int, log: Path) -> bool:
    arguments = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return log.exists() and subprocess.run(arguments, timeout=10).returncode == 0
