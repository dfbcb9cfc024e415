"""The agent's loops in a real process: each waits for its own signal, and all end on `stop`.

Rules of this module:

- Nothing is decided here: when to sync is state.py's, what to install plan.py's, what to run runner.py's.
- An error that nobody expected ends the process: what is durable is in the store, and whoever supervises the process
  starts it again.
- A process that VMs have worn out stops by itself; `worn` says why, and whoever runs the loop begins anew.
- Stopping drains: the feeder's door closes, running events finish, what there is to say is said, all within a limit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from device_agent.agent.conditions import DeviceConditions
from device_agent.agent.core import AgentCore
from device_agent.events.server import FeederServer
from device_agent.failpoint import failpoint

CONDITIONS_CHECK_MS = 5_000
WEAR_CHECK_MS = 500


class AgentLoop:
    """Runs one core until it is told to stop.

    Attributes:
        worn: Why the process is to begin anew after `run`; empty when it is not.
    """

    def __init__(
        self,
        core: AgentCore,
        *,
        server: FeederServer | None,
        conditions: DeviceConditions,
        upkeep: Callable[[], Awaitable[None]] | None = None,
        on_listening: Callable[[], None] = lambda: None,
    ) -> None:
        """`upkeep` is awaited every `renew_check_ms`: renewal of certificate and metadata."""
        self.worn = ""
        self._on_listening = on_listening
        self._core = core
        self._server = server
        self._conditions = conditions
        self._upkeep = upkeep
        self._settings = core.settings

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then drains."""
        if self._server is not None:
            await self._server.start()
        failpoint("agent.loop.started")
        self._on_listening()
        try:
            await self._work(stop)
        finally:
            await self._close_door()
        await self._say_the_rest()

    async def _work(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(loop())
                for loop in (self._sync, self._install, self._talk, self._keep_up)
            ]
            loops.append(group.create_task(self._watch_wear(stop)))
            running = group.create_task(self._core.runner.serve(stop))
            await stop.wait()
            await self._close_door()
            self._core.runner.wake()
            await asyncio.wait([running], timeout=self._settings.drain_ms_max / 1000)
            for task in [running, *loops]:
                task.cancel()

    async def _close_door(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def _say_the_rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_ms_max / 1000):
                if self._core.tunnel.has_something_to_say():
                    await self._core.talk(0)

    async def _sync(self) -> None:
        syncer = self._core.syncer
        while True:
            await syncer.sync_if_due()
            pause_ms = max(syncer.due_at_ms - self._core.clock.monotonic_ms(), 1)
            await wait(syncer.changed, pause_ms)

    async def _install(self) -> None:
        known = self._conditions.read()
        while True:
            pause_ms = await self._core.installer.install_wanted()
            self._core.syncer.hurry_for_acks()
            self._core.runner.wake()
            if pause_ms is not None:
                pause_ms = min(pause_ms, CONDITIONS_CHECK_MS)
            await wait(self._core.documents, pause_ms)
            conditions = self._conditions.read()
            if conditions != known:
                known = conditions
                self._core.installer.forget_pauses()

    async def _talk(self) -> None:
        failures = 0
        while True:
            if not self._core.tunnel.has_something_to_say() and await wait(
                self._core.reports, self._settings.tunnel_poll_ms
            ):
                continue  # the signal may be of reports that an open stream has said already
            self._core.syncer.answered.clear()
            if await self._core.talk(self._settings.tunnel_idle_ms):
                failures = 0
                continue
            # Reports do not wait out a pause that grew while the cloud was away: the next answer to a Sync ends it.
            await wait(self._core.syncer.answered, self._core.syncer.pause_after(failures))
            failures += 1

    async def _watch_wear(self, stop: asyncio.Event) -> None:
        while not (self.worn or stop.is_set()):
            await asyncio.sleep(WEAR_CHECK_MS / 1000)
            self.worn = self._core.why_worn()
        if self.worn:
            self._core.note_worn(self.worn)
            stop.set()

    async def _keep_up(self) -> None:
        while True:
            if self._upkeep is not None:
                await self._upkeep()
            await asyncio.sleep(self._settings.renew_check_ms / 1000)


async def wait(signal: asyncio.Event, timeout_ms: int | None) -> bool:
    """Waits for a signal and takes it back; False when the time went by first."""
    try:
        async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
            await signal.wait()
    except TimeoutError:
        return False
    signal.clear()
    return True
