"""From what is wanted to what runs: admit, fetch, verify, put into place, switch, acknowledge.

Rules of this module:

- The switch is one transaction: bundle, triggers, version and acknowledgement; before it the old version runs, after
  it the new one. A death anywhere starts over from what is on disk and repeats nothing that was acknowledged.
- An expired document installs nothing and is reported once; what runs keeps running.
- The outside's faults are tried again with growing pauses, unacknowledged; the peer's are acknowledged as FAILED with
  their code and, after `install_tries_max` tries, come again only every `given_up_retry_ms`. What the device itself
  refuses or lacks is acknowledged as DEFERRED.
- While files are fetched the document may change: the switch looks again whether this is still wanted.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from device_agent.agent.bundles import (
    BundleFolders,
    assemble,
    check_paths,
    clean_up,
    find_held,
    is_intact,
)
from device_agent.agent.conditions import DeviceConditions
from device_agent.agent.documents import installed_outcome
from device_agent.agent.errors import Deferred
from device_agent.agent.ground import Ground
from device_agent.agent.messages import notice
from device_agent.agent.plan import admit, settled
from device_agent.agent.settings import LocalPolicy
from device_agent.agent.state import pause_ms
from device_agent.agent.store.held import BundleRow, TaskRow
from device_agent.agent.store.outbox import Outcome, ack_of
from device_agent.errors import ShoalError
from device_agent.failpoint import failpoint
from device_agent.tasks.director import BundleFile, DirectorDocument, TaskInstruction
from device_agent.tasks.errors import BundleInvalid
from device_agent.tasks.names import digest_hex
from device_agent.tasks.trust_errors import DiskQuota

# Faults that pass by themselves: nothing to acknowledge, the profile says PENDING.
OUTSIDE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"})


class Supply(Protocol):
    """Where genuine documents and files come from; raises ShoalErrors, the outside's with a status in OUTSIDE."""

    async def verify(
        self, envelope: bytes, *, held: tuple[int, int] | None, now_ms: int
    ) -> DirectorDocument:
        """Reads a new document or refuses it."""
        ...

    async def fetch(
        self, instruction: TaskInstruction, missing: Sequence[tuple[BundleFile, Path]], now_ms: int
    ) -> None:
        """Checks all the instruction's files against signed metadata, then fetches the missing ones, verified."""
        ...


class Installer:
    """Carries out what the store says is wanted."""

    def __init__(
        self,
        ground: Ground,
        *,
        supply: Supply,
        conditions: DeviceConditions,
        policy: LocalPolicy,
        in_use: Callable[[], Collection[Path]],
    ) -> None:
        """`in_use` gives the folders of bundles whose runs have not ended."""
        self._store = ground.store
        self._clock = ground.clock
        self._random = ground.random
        self._settings = ground.settings
        self._observer = ground.observer
        self._python_tag = ground.facts.python_tag
        self._folders = BundleFolders(ground.home)
        self._supply = supply
        self._conditions = conditions
        self._policy = policy
        self._in_use = in_use
        self._failures: dict[str, int] = {}
        self._retry_at_ms: dict[str, int] = {}

    async def install_wanted(self) -> int | None:
        """Tries what is due; returns in how many milliseconds to come back, None when nothing is open."""
        if self._tell_expiry():
            return None
        for row in self._open_rows():
            if self._retry_at_ms.get(row.task, 0) <= self._clock.monotonic_ms():
                await self._try(row)
        pauses = [self._retry_at_ms.get(row.task, 0) for row in self._open_rows()]
        if not pauses:
            return None
        return max(min(pauses) - self._clock.monotonic_ms(), self._settings.retry_ms_min)

    def forget_pauses(self) -> None:
        """A new document came, or the device's conditions changed: everything is due."""
        self._retry_at_ms.clear()
        self._failures.clear()

    def clean_up(self) -> list[Path]:
        """Removes what nobody needs any more."""
        self._folders.prepare()
        rows = self._store.held.bundles()
        known = {self._folders.folder(row.task, row.digest, row.python_tag) for row in rows}
        wanted = [row.wanted for row in self._store.held.tasks().values() if row.wanted is not None]
        return clean_up(
            self._folders,
            known=known | set(self._in_use()),
            downloads={digest_hex(file.digest) for item in wanted for file in item.files},
            partials_bytes_max=self._settings.partials_bytes_max,
        )

    def _tell_expiry(self) -> bool:
        """Whether the document has expired; reported once."""
        agent = self._store.held.agent()
        now_ms = self._clock.wall_ms()
        if agent.document is None or now_ms < agent.expires_at_ms:
            return False
        if not agent.expiry_told:
            with self._store.transaction():
                self._store.held.put_expiry_told()
                text = f"the document of epoch {agent.document[0]} has expired; what runs keeps running"
                self._store.outbox.append_report(notice("DIRECTOR_EXPIRED", text, now_ms))
            failpoint("agent.expiry.told")
        return True

    def _open_rows(self) -> list[TaskRow]:
        return [row for row in self._store.held.tasks().values() if row.wanted is not None]

    async def _try(self, row: TaskRow) -> None:
        instruction = row.wanted
        assert instruction is not None
        started_ms = self._clock.monotonic_ms()
        try:
            bundle = self._store.held.bundle(row.task, instruction.digest, self._python_tag)
            if bundle is None or not self._is_whole(bundle):
                bundle = await self._obtain(instruction)
        except Deferred as error:
            self._put_off(instruction, Outcome.DEFERRED, error.reason, str(error))
        except ShoalError as error:
            self._put_off(instruction, _outcome(error), error.code, str(error))
        except OSError as error:
            self._put_off(instruction, Outcome.DEFERRED, "DEVICE_STORAGE_FAILED", str(error))
        else:
            if self._switch(instruction, bundle):
                self._observer.installed(instruction, self._clock.monotonic_ms() - started_ms)

    def _is_whole(self, bundle: BundleRow) -> bool:
        folder = self._folders.folder(bundle.task, bundle.digest, bundle.python_tag)
        return all(
            is_intact(folder / path, digest, size) for path, (digest, size) in bundle.files.items()
        )

    async def _obtain(self, instruction: TaskInstruction) -> BundleRow:
        check_paths(instruction)
        self._folders.prepare()
        rows = self._store.held.bundles()
        held = await asyncio.to_thread(find_held, self._folders, instruction.files, rows)
        missing = {
            file.digest: (file, self._folders.download(file))
            for file in instruction.files
            if file.digest not in held
        }
        size = sum(file.size for file, _ in missing.values())
        if size > self._settings.bundle_bytes_max:
            raise BundleInvalid(
                f"{instruction.task} has {size} bytes; the agent takes {self._settings.bundle_bytes_max}"
            )
        admit(
            instruction,
            conditions=self._conditions.read(),
            policy=self._policy,
            opted_out=instruction.task in self._store.held.opted_out(),
            fetch_bytes=size,
            held_bytes=sum(row.size for row in rows),
        )
        failpoint("agent.install.admitted")
        await self._supply.fetch(instruction, list(missing.values()), self._clock.wall_ms())
        failpoint("agent.install.fetched")
        found = held | {digest: path for digest, (_, path) in missing.items()}
        sources = {file.path: found[file.digest] for file in instruction.files}
        return await asyncio.to_thread(
            assemble, self._folders, instruction, self._python_tag, sources
        )

    def _switch(self, instruction: TaskInstruction, bundle: BundleRow) -> bool:
        now_ms = self._clock.wall_ms()
        with self._store.transaction():
            row = self._store.held.tasks().get(instruction.task)
            if row is None or row.wanted != instruction:
                return False  # the cloud changed its mind while files were on their way
            previous = row.digest if row.digest != instruction.digest else ""
            row = replace(
                settled(row),
                version=instruction.version,
                digest=instruction.digest,
                python_tag=self._python_tag,
                previous_digest=previous,
                release_id=instruction.release_id,
                traceparent=instruction.traceparent,
                quarantined=False,
                deaths=0,
            )
            self._store.held.put_bundle(bundle, now_ms)
            self._store.held.put_task(row)
            self._store.held.keep_bundles(row)
            self._store.held.put_triggers(bundle.manifest)
            self._store.outbox.append_ack(
                ack_of(instruction, installed_outcome(instruction), "", now_ms)
            )
        failpoint("agent.install.switched")
        self._failures.pop(instruction.task, None)
        self._retry_at_ms.pop(instruction.task, None)
        self.clean_up()
        return True

    def _put_off(
        self, instruction: TaskInstruction, outcome: Outcome | None, code: str, message: str
    ) -> None:
        self._observer.put_off(instruction, code, message)
        with self._store.transaction():
            row = self._store.held.tasks().get(instruction.task)
            if row is not None and row.wanted == instruction and outcome is not None:
                told = row.told
                tries = row.tries + 1 if outcome is Outcome.FAILED else row.tries
                row = replace(row, tries=tries, told=code)
                self._store.held.put_task(row)
                if told != code and self._store.outbox.ack_count() < self._settings.acks_max:
                    ack = ack_of(instruction, outcome, code, self._clock.wall_ms())
                    self._store.outbox.append_ack(ack)
        failpoint("agent.install.put_off")
        failures = self._failures.get(instruction.task, 0)
        self._failures[instruction.task] = failures + 1
        pause = pause_ms(failures, self._random.random(), self._settings)
        if row is not None and row.tries >= self._settings.install_tries_max:
            pause = self._settings.given_up_retry_ms
        self._retry_at_ms[instruction.task] = self._clock.monotonic_ms() + pause


def _outcome(error: ShoalError) -> Outcome | None:
    if error.status in OUTSIDE:
        return None
    return Outcome.DEFERRED if isinstance(error, DiskQuota) else Outcome.FAILED
