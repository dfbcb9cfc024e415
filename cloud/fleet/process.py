"""One process of a local fleet: started, watched until it is ready, stopped by its process id.

Rules of this module:

- Output goes to a log file in the home folder of the process; an error shows its end.
- A process is ready when its ready check says so; it is never assumed to be after some time.
- `kill` is SIGKILL, as a power cut would be; `stop` is SIGTERM and a bounded wait.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloud.fleet.errors import ProcessFailed
from cloud.fleet.settings import LocalFleetSettings

LOG_TAIL_BYTES = 4000


def python_command(module: str) -> list[str]:
    """The command that runs a module of this installation with this interpreter."""
    return [sys.executable, "-m", module]


class LocalProcess:
    """A child process with a log and a ready check."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        ready: Callable[[int], bool],
        environment: Mapping[str, str] | None = None,
        settings: LocalFleetSettings | None = None,
    ) -> None:
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._settings = settings or LocalFleetSettings()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id of the running process.

        Raises:
            ProcessFailed: it does not run.
        """
        if self._process is None:
            raise ProcessFailed(f"{self._command[:3]} does not run; call start first")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs or before it was started."""
        return self._process.returncode if self._process else None

    async def start(self, extra_environment: Mapping[str, str] | None = None) -> None:
        """Starts the process and waits until it is ready.

        Raises:
            ProcessFailed: it ended first, or was not ready in time.
        """
        await self.spawn(extra_environment)
        await self.wait_ready()

    async def spawn(self, extra_environment: Mapping[str, str] | None = None) -> None:
        """Starts the process without waiting."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **(extra_environment or {})},
            )

    async def wait_ready(self) -> None:
        """Waits until the ready check holds.

        Raises:
            ProcessFailed: the process ended first, or was not ready in time.
        """
        try:
            async with asyncio.timeout(self._settings.start_seconds_max):
                while not self._ready(self.pid):
                    if self.returncode is not None:
                        raise ProcessFailed(
                            f"ended with {self.returncode} before it was ready:\n{self.log_tail()}"
                        )
                    await asyncio.sleep(self._settings.poll_seconds)
        except TimeoutError:
            raise ProcessFailed(
                f"not ready after {self._settings.start_seconds_max} s:\n{self.log_tail()}"
            ) from None

    async def wait(self) -> int:
        """Waits for the process to end by itself and gives its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        """Ends the process at once, as a power cut would."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> int | None:
        """Asks the process to drain and end; kills it when it takes too long.

        Returns:
            Its exit status; None when it never ran.
        """
        if self._process is None or self._process.returncode is not None:
            return self.returncode
        self._process.terminate()
        try:
            async with asyncio.timeout(self._settings.stop_seconds_max):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        return self.returncode

    def log_tail(self) -> str:
        """The end of the log, for an error message."""
        if not self._log.exists():
            return "(no log)"
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
