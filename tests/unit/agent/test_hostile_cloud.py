"""A cloud that answers what no cloud may: the agent goes on with what it holds, and an honest cloud wins it back."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from shoal.device.v1 import device_pb2
from shoal.telemetry.v1 import telemetry_pb2

from tests.helpers.devices import VirtualDevice, event
from tests.helpers.fake_cloud import FakeCloud, FakeLink
from tests.helpers.manual_clock import ManualClock

SOURCE = "def on_event(event): emit('answer', event.payload)"
UINT64, INT64 = st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from([0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
SYNCS = st.builds(
    device_pb2.SyncResponse,
    epoch=UINT64 | EDGES,
    next_sync_after_ms=st.integers(0, 2**32 - 1),
    retry=st.booleans(),
    director=st.binary(max_size=200) | st.just(b'{"payload": "", "signatures": []}'),
    server_time_ms=INT64 | st.sampled_from([0, 1, 2**62, -1, 253_402_300_800_000]),
    acknowledged_sequence=UINT64 | EDGES,
)
REPLIES = st.builds(
    telemetry_pb2.Reply,
    reply_id=st.binary(max_size=20) | st.binary(min_size=16, max_size=16),
    task=st.text(max_size=20) | st.just("echo"),
    event_id=st.integers(0, 2**32 - 1) | st.just(1002),
    cause_uid=st.binary(max_size=20),
    payload=st.binary(max_size=50),
)
TUNNELS = st.lists(
    st.builds(
        telemetry_pb2.TunnelResponse,
        acknowledged_sequence=UINT64 | EDGES,
        replies=st.lists(REPLIES, max_size=4),
    ),
    max_size=4,
)
LIFE = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class HostileLink(FakeLink):
    """Answers what it is told to, until it turns honest."""

    def __init__(self, cloud: FakeCloud, device_id: str) -> None:
        super().__init__(cloud, device_id)
        self.syncs: list[device_pb2.SyncResponse] = []
        self.tunnels: list[telemetry_pb2.TunnelResponse] = []
        self.received: list[bytes] = []

    async def sync(self, request: device_pb2.SyncRequest) -> device_pb2.SyncResponse:
        return self.syncs.pop() if self.syncs else await super().sync(request)

    async def tunnel(
        self, requests: AsyncIterator[telemetry_pb2.TunnelRequest]
    ) -> AsyncIterator[telemetry_pb2.TunnelResponse]:
        if self.tunnels:
            await anext(requests)
            for response in self.tunnels:
                yield response
            self.tunnels = []
            return
        async for response in super().tunnel(self._noted(requests)):
            yield response

    async def _noted(
        self, requests: AsyncIterator[telemetry_pb2.TunnelRequest]
    ) -> AsyncIterator[telemetry_pb2.TunnelRequest]:
        async for request in requests:
            self.received += request.received_reply_ids
            yield request


async def won_back(
    home: Path, hostile: Callable[[HostileLink], None], *, turns: int
) -> tuple[VirtualDevice, HostileLink]:
    """A device that meets the hostile cloud for some turns, then an honest one."""
    clock = ManualClock()
    cloud = FakeCloud(clock)
    cloud.publish("echo", 1, SOURCE, triggers=[1001], replies={"answer": 1002})
    cloud.release("echo", 1)
    with VirtualDevice(cloud, home, clock=clock) as device:
        link = HostileLink(cloud, device.known.device_id)
        device.known.link = link
        device.reborn()
        await device.until(lambda: "echo" in device.core.store.held.tasks())
        await device.turns(4)
        device.core.feed([event(1)])
        hostile(link)
        for _ in range(turns):
            clock.advance_ms(600_000)
            await device.turns(1)
        link.syncs, link.tunnels = [], []
        device.core.feed([event(2)])
        for _ in range(6):
            clock.advance_ms(3_600_000)
            await device.turns(2)
    return device, link


@pytest.mark.slow
@LIFE
@given(answers=st.lists(SYNCS, min_size=1, max_size=4))
async def test_no_answer_to_a_sync_ends_the_agent_or_changes_what_it_runs(
    tmp_path_factory: pytest.TempPathFactory, answers: list[device_pb2.SyncResponse]
) -> None:
    home = tmp_path_factory.mktemp("home")
    device, _ = await won_back(home, lambda link: link.syncs.extend(answers), turns=6)
    assert {uid for (uid, _, _) in device.known.runs} == {event(1).uid, event(2).uid}
    assert set(device.known.runs.values()) == {1}
    assert device.known.installed["echo"][0] == 1


@pytest.mark.slow
@LIFE
@given(responses=TUNNELS)
async def test_no_answer_on_the_tunnel_ends_the_agent_or_repeats_a_run(
    tmp_path_factory: pytest.TempPathFactory, responses: list[telemetry_pb2.TunnelResponse]
) -> None:
    home = tmp_path_factory.mktemp("home")
    device, link = await won_back(home, lambda link: link.tunnels.extend(responses), turns=2)
    assert event(2).uid in {uid for (uid, _, _) in device.known.runs}
    assert set(device.known.runs.values()) == {1}
    assert all(len(reply_id) == 16 for reply_id in link.received), "the cloud refuses others"


@pytest.mark.parametrize(
    "change",
    [{"epoch": 2**63}, {"server_time_ms": -1}, {"server_time_ms": 253_402_300_800_000}],
)
async def test_an_answer_that_cannot_be_is_refused_by_name(
    tmp_path: Path, change: dict[str, int]
) -> None:
    clock = ManualClock()
    cloud = FakeCloud(clock)
    with VirtualDevice(cloud, tmp_path, clock=clock) as device:
        link = HostileLink(cloud, device.known.device_id)
        device.known.link = link
        device.reborn()
        link.syncs = [device_pb2.SyncResponse(**change)]  # type: ignore[arg-type]  # a field of it
        assert not await device.core.syncer.sync_if_due()
        assert device.core.syncer.last_error == "PEER_REFUSED"
        assert device.core.clock.offset_ms == 0
