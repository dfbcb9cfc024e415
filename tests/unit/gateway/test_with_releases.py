"""Operators' commands reach devices and acknowledgements reach coverage: gateway and rollout joined, no fakes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from shoal.device.v1 import device_pb2

from cloud.artifacts.tickets import TicketSigner
from cloud.gateway.parts import GatewayParts
from cloud.keys.director import DirectorSigner
from cloud.rollout.machine import Command, Stage
from cloud.rollout.release import ReleaseDraft
from cloud.rollout.service import ReleaseService
from cloud.rpc.peer import DevicePeer
from cloud.store.database import Database
from device_agent.clock import SystemClock
from device_agent.tasks.director import Action, DirectorDocument, TaskInstruction
from device_agent.tasks.verify import verify_director
from tests.helpers.conditions import until
from tests.helpers.release_sets import NAMESPACE, request, row, version
from tests.helpers.seed_store import Seed

CLOCK = SystemClock()
BOOT = b"b" * 16


class World:
    """A gateway and a ReleaseService over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seed = Seed(database)
        self.signer = DirectorSigner(Ed25519PrivateKey.generate())
        self.releases = ReleaseService(database, CLOCK, on_epoch=self._on_epoch)
        self.parts = GatewayParts.build(
            database=database,
            signer=self.signer,
            tickets=TicketSigner(bytes(32)),
            record=self.releases.record_batch,
            wake=self.releases.wake,
            clock=CLOCK,
        )
        self.epoch = 0

    def _on_epoch(self, namespace: str, epoch: int) -> None:
        self.epoch = epoch
        self.parts.follower.on_epoch(namespace, epoch)

    async def caught_up(self) -> None:
        """A change was committed and notified; the gateway has it."""
        await until(lambda: self.parts.follower.health().epochs.get(NAMESPACE) == self.epoch)

    async def covered(self, release_id: str, installed: int) -> None:
        """A count of the fleet is given out again for a moment: waits for a newer one."""
        async with asyncio.timeout(5):
            while (await self.releases.coverage(NAMESPACE, release_id)).installed != installed:  # noqa: ASYNC110 - a cache that ages
                await asyncio.sleep(0.01)

    async def command(self, release_id: str, command: Command) -> None:
        await self.releases.command(NAMESPACE, release_id, command, "tester")
        await self.caught_up()


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database)
    await made.seed.namespace()
    for number in (1, 2):
        await made.seed.publish(version("digits", number))
    started = asyncio.Event()
    task = asyncio.create_task(made.parts.run(started))
    await asyncio.wait_for(started.wait(), 10)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Device:
    """A device that does what it is told and says so."""

    def __init__(self, world: World, device_id: str) -> None:
        self.world = world
        self.peer = DevicePeer(device_id, NAMESPACE)
        self.epoch = 0
        self.version = 0
        self.sequence = 0
        self.document: DirectorDocument | None = None

    async def sync(self, *acknowledged: tuple[TaskInstruction, str]) -> TaskInstruction | None:
        """Syncs; gives what the document says of the task, None without a document or without the task in it."""
        message = request(self.epoch, [row("digits", self.version)] if self.version else [])
        for told, outcome in acknowledged:
            self.sequence += 1
            ack = message.acknowledgements.add(
                boot=BOOT,
                sequence=self.sequence,
                release_id=told.release_id,
                outcome=f"OUTCOME_{outcome}",
            )
            ack.version.task, ack.version.version = told.task, told.version
        data = message.SerializeToString()
        raw = await self.world.parts.gateway.sync(self.peer, data)
        answer = device_pb2.SyncResponse.FromString(raw)
        assert answer.acknowledged_sequence == (self.sequence if acknowledged else 0)
        self.epoch = answer.epoch
        if not answer.director:
            return None
        self.document = verify_director(
            answer.director,
            keys={self.world.signer.keyid: self.world.signer.public_key},
            device=self.peer.device_id,
            namespace=NAMESPACE,
            held=None,
            now_ms=CLOCK.wall_ms(),
        )
        return next(iter(self.document.tasks), None)

    async def obey(self, outcome: str) -> TaskInstruction | None:
        told = await self.sync()
        if told is None:
            return None
        self.version = told.version
        await self.sync((told, outcome))
        return told


async def test_a_release_from_start_to_rollback(world: World) -> None:
    device, late = Device(world, "ab" * 16), Device(world, "cd" * 16)
    for one in (device, late):
        await world.seed.device(one.peer.device_id)
    first = await world.releases.create(
        NAMESPACE, ReleaseDraft(task="digits", version=1, start=True), "tester"
    )
    await world.caught_up()
    told = await device.obey("INSTALLED")
    assert told is not None
    assert told.action is Action.INSTALL
    await world.covered(first.id, 1)
    second = await world.releases.create(
        NAMESPACE, ReleaseDraft(task="digits", version=2, start=True), "tester"
    )
    await world.caught_up()
    await device.obey("INSTALLED")
    assert device.version == 2
    await world.command(second.id, Command.PAUSE)
    assert await device.sync() is None
    told = await late.sync()
    assert told is not None
    assert told.version == 1  # nobody new gets the second; the first still stands
    await world.command(second.id, Command.ROLL_BACK)
    back = await device.obey("ROLLED_BACK")
    assert back is not None
    assert (back.action, back.version) == (Action.ROLL_BACK, 1)
    await world.covered(second.id, 0)


async def test_widening_a_stage_reaches_the_others(world: World) -> None:
    devices = [Device(world, f"{n:032x}") for n in range(20)]
    for one in devices:
        await world.seed.device(one.peer.device_id)
    stages = (Stage(share_ppm=400_000), Stage(share_ppm=1_000_000))
    draft = ReleaseDraft(task="digits", version=1, stages=stages, start=True)
    release = await world.releases.create(NAMESPACE, draft, "tester")
    await world.caught_up()
    chosen = {one.peer.device_id for one in devices if await one.obey("INSTALLED")}
    assert 0 < len(chosen) < len(devices)
    await world.command(release.id, Command.PROMOTE)
    now = {one.peer.device_id for one in devices if await one.obey("INSTALLED")}
    assert now == {one.peer.device_id for one in devices} - chosen


async def test_a_kill_switch_reaches_who_holds_the_task(world: World) -> None:
    device = Device(world, "ab" * 16)
    await world.seed.device(device.peer.device_id)
    draft = ReleaseDraft(task="digits", version=1, start=True)
    await world.releases.create(NAMESPACE, draft, "tester")
    await world.caught_up()
    await device.obey("INSTALLED")
    await world.releases.set_kill(NAMESPACE, "digits", "tester", "it misbehaves")
    await world.caught_up()
    kept = await device.sync()
    assert kept is not None
    assert kept.action is Action.KEEP
    assert device.document is not None
    assert device.document.kill.tasks == ("digits",)
