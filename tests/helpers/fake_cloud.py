"""The whole cloud in memory: real signatures, real documents, real digests; no network, no disk.

Example:
    cloud = FakeCloud(clock)
    device = cloud.enrol()
    cloud.publish("digits", 1, "def on_event(event): emit('answer', event.payload)", triggers=[1001])
    cloud.release("digits", 1)
    core = AgentCore(link=device.link, supply=device.supply, ...)
"""

import hashlib
import marshal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from shoal.device.v1 import device_pb2
from shoal.telemetry.v1 import telemetry_pb2

from cloud.keys.director import DirectorSigner
from device_agent.agent.errors import PeerUnreachable, ReportGap, Revoked
from device_agent.agent.messages import Facts
from device_agent.clock import Clock
from device_agent.tasks.bytecode import encode_bytecode, python_tag, running_magic
from device_agent.tasks.director import (
    Action,
    BundleFile,
    DirectorDocument,
    KillSwitch,
    Scope,
    TaskInstruction,
)
from device_agent.tasks.manifest import Limits, Manifest, Resource, Schedule, Trigger
from device_agent.tasks.names import Namespace, target_path
from device_agent.tasks.trust_errors import FileDamaged
from device_agent.tasks.verify import TargetInfo, check_files_against_targets, verify_director

VALIDITY_MS = 7 * 24 * 3_600_000


def facts(**changes: object) -> Facts:
    """Facts of a plain device of this Python."""
    plain = Facts(
        agent_version="0.1.0",
        guest_api=1,
        op_set=1,
        python_tag=python_tag(),
        cpu_features=(),
        os="linux",
        os_version="6.1",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # a test names fields of Facts


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version as the registry would hold it."""

    task: str
    version: int
    digest: str
    files: tuple[BundleFile, ...]


@dataclass(slots=True)
class FakeDevice:
    """What the cloud knows of one device."""

    device_id: str
    link: "FakeLink"
    supply: "FakeSupply"
    installed: dict[str, tuple[int, int]] = field(default_factory=dict)
    acks: list[device_pb2.Acknowledgement] = field(default_factory=list)
    ack_marks: dict[bytes, int] = field(default_factory=dict)
    report_marks: dict[bytes, int] = field(default_factory=dict)
    runs: Counter[tuple[bytes, str, int]] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    emits: list[telemetry_pb2.Report] = field(default_factory=list)
    notices: list[telemetry_pb2.AgentNotice] = field(default_factory=list)
    replies: dict[bytes, telemetry_pb2.Reply] = field(default_factory=dict)
    facts_seen: list[bytes] = field(default_factory=list)
    revoked: bool = False


class FakeCloud:
    """Publishes, releases, answers, counts.

    Attributes:
        epoch: Epoch of the release set.
        offline: Nothing reaches the cloud while this is set.
        loss: Share of calls whose request or answer is lost.
        answers: Topic to event id: an emit of that topic is answered with a reply of that event.
        tampered: Digest to bytes that are served instead.
    """

    def __init__(self, clock: Clock, *, namespace: str = "demo/app", seed: int = 1) -> None:
        self.clock = clock
        self.namespace = namespace
        self.random = Random(seed)
        self.signer = DirectorSigner(
            Ed25519PrivateKey.from_private_bytes(self.random.randbytes(32))
        )
        self.epoch = 1
        self.offline = False
        self.loss = 0.0
        self.next_sync_after_ms = 1_000
        self.validity_ms = VALIDITY_MS
        self.answers: dict[str, int] = {}
        self.devices: dict[str, FakeDevice] = {}
        self.tampered: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.targets: dict[str, TargetInfo] = {}
        self.versions: dict[tuple[str, int], Published] = {}
        self.wanted: dict[str, tuple[int, Action, str]] = {}
        self.kill = KillSwitch()
        self.syncs = 0
        self.fetched: Counter[str] = Counter()

    def enrol(self) -> FakeDevice:
        """A new device."""
        device_id = self.random.randbytes(16).hex()
        device = FakeDevice(device_id, FakeLink(self, device_id), FakeSupply(self, device_id))
        self.devices[device_id] = device
        return device

    def publish(
        self,
        task: str,
        version: int,
        source: str,
        *,
        triggers: Sequence[int],
        emit: Sequence[str] = ("answer",),
        replies: dict[str, int] | None = None,
        resources: dict[str, bytes] | None = None,
        concurrency: int = 1,
        wall_ms: int = 1_000,
        magic: int | None = None,
        schedule: Schedule | None = None,
    ) -> Published:
        """Compiles and stores one version; with another magic number, as for another Python."""
        manifest = Manifest(
            name=task,
            entry="main:on_event",
            triggers=tuple(Trigger(event=event) for event in triggers),
            limits=Limits(concurrency=concurrency, wall_ms=wall_ms),
            schedule=schedule or Schedule(),
            emit=frozenset(emit),
            replies=replies or {},
            resources=tuple(Resource(path=path) for path in resources or {}),
        )
        code = marshal.dumps(compile(source, "main.py", "exec"))
        contents = {
            "manifest.json": manifest.to_json(),
            "code.bin": encode_bytecode(
                {"main": code}, running_magic() if magic is None else magic
            ),
            **(resources or {}),
        }
        files = tuple(self._store(task, version, path, data) for path, data in contents.items())
        digest = sha256(source.encode() + manifest.to_json() + b"".join((resources or {}).values()))
        published = Published(task=task, version=version, digest=digest, files=files)
        self.versions[(task, version)] = published
        return published

    def release(self, task: str, version: int, action: Action = Action.INSTALL) -> None:
        """From now on every device shall hold this version; 0 is none."""
        self.epoch += 1
        self.wanted[task] = (version, action, f"r{self.epoch:026d}")

    def set_kill(self, *, everything: bool = False, tasks: Sequence[str] = ()) -> None:
        """Turns the kill switch."""
        self.epoch += 1
        self.kill = KillSwitch(all=everything, tasks=tuple(tasks))

    def document(self, device_id: str, profile: dict[str, tuple[int, int]]) -> DirectorDocument:
        """What a device with this profile is told."""
        now_ms = self.clock.wall_ms()
        return DirectorDocument(
            device=device_id,
            namespace=self.namespace,
            epoch=self.epoch,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + self.validity_ms,
            tasks=tuple(self._instructions(profile)),
            kill=self.kill,
        )

    def _instructions(self, profile: dict[str, tuple[int, int]]) -> list[TaskInstruction]:
        found = []
        for task, (version, action, release_id) in self.wanted.items():
            held, state = profile.get(task, (0, 0))
            if version == 0:
                if held:
                    found.append(
                        TaskInstruction(task=task, action=Action.REMOVE, release_id=release_id)
                    )
                continue
            published = self.versions[(task, version)]
            settled = state not in (device_pb2.TASK_STATE_PENDING, device_pb2.TASK_STATE_FAILED)
            kept = held == version and settled
            found.append(
                TaskInstruction(
                    task=task,
                    action=Action.KEEP if kept else action,
                    version=version,
                    digest=published.digest,
                    release_id=release_id,
                    files=() if kept else published.files,
                )
            )
        return found

    def _store(self, task: str, version: int, path: str, data: bytes) -> BundleFile:
        digest = sha256(data)
        self.blobs[digest] = data
        target = target_path(Namespace.parse(self.namespace), task, version, digest)
        places = self.targets[target].bundle_paths if target in self.targets else ()
        self.targets[target] = TargetInfo(
            path=target,
            length=len(data),
            sha256=digest.removeprefix("sha256:"),
            bundle_paths=(*places, path),
        )
        return BundleFile(
            path=path, digest=digest, size=len(data), scope=Scope.SHARED, target=target
        )

    def lose(self) -> None:
        """Raises as often as `loss` says, and always while offline."""
        if self.offline or self.random.random() < self.loss:
            raise PeerUnreachable("the network lost it")


class FakeLink:
    """One device's link; implements device_agent.agent.link.Link."""

    def __init__(self, cloud: FakeCloud, device_id: str) -> None:
        self._cloud = cloud
        self.device_id = device_id

    async def sync(self, request: device_pb2.SyncRequest) -> device_pb2.SyncResponse:
        """Answers as a gateway would."""
        cloud = self._cloud
        device = cloud.devices[self.device_id]
        if device.revoked:
            raise Revoked("this device was revoked; enrol it again")
        cloud.lose()
        cloud.syncs += 1
        device.facts_seen.append(request.facts.SerializeToString(deterministic=True))
        profile = {
            row.version.task: (row.version.version, int(row.state)) for row in request.installed
        }
        device.installed = profile
        response = device_pb2.SyncResponse(
            epoch=cloud.epoch,
            next_sync_after_ms=cloud.next_sync_after_ms,
            server_time_ms=cloud.clock.wall_ms(),
            acknowledged_sequence=self._take(device, request),
        )
        if request.epoch > cloud.epoch:
            response.retry = True
        elif request.epoch != cloud.epoch:
            response.director = cloud.signer.sign(cloud.document(self.device_id, profile))
        cloud.lose()
        return response

    def _take(self, device: FakeDevice, request: device_pb2.SyncRequest) -> int:
        high = 0
        for ack in request.acknowledgements:
            high = device.ack_marks.get(ack.boot, 0)
            if ack.sequence > high:
                assert ack.sequence == high + 1, "acknowledgements have no gaps"
                device.acks.append(ack)
                device.ack_marks[ack.boot] = high = ack.sequence
        return high

    async def tunnel(
        self, requests: AsyncIterator[telemetry_pb2.TunnelRequest]
    ) -> AsyncIterator[telemetry_pb2.TunnelResponse]:
        """Answers each message with what is durable and with the replies that wait."""
        device = self._cloud.devices[self.device_id]
        sent: set[bytes] = set()
        async for request in requests:
            self._cloud.lose()
            for reply_id in request.received_reply_ids:
                device.replies.pop(reply_id, None)
            for report in request.reports:
                self._count(device, request.boot, report)
            if not (request.reports or set(device.replies) - sent):
                continue  # as the real tunnel: confirmations are not answered
            replies = [reply for key, reply in device.replies.items() if key not in sent]
            sent.update(reply.reply_id for reply in replies)
            self._cloud.lose()
            yield telemetry_pb2.TunnelResponse(
                acknowledged_sequence=device.report_marks.get(request.boot, 0), replies=replies
            )

    def _count(self, device: FakeDevice, boot: bytes, report: telemetry_pb2.Report) -> None:
        high = device.report_marks.get(boot, 0)
        if report.sequence <= high:
            return
        if report.sequence != high + 1:
            raise ReportGap("a report is missing", expected=high + 1)
        device.report_marks[boot] = report.sequence
        if report.kind == telemetry_pb2.REPORT_KIND_RUN:
            summary = telemetry_pb2.RunSummary.FromString(report.payload)
            device.runs[(report.event_uid, report.task, report.version)] += 1
            device.outcomes[summary.outcome] += 1
        elif report.kind == telemetry_pb2.REPORT_KIND_NOTICE:
            device.notices.append(telemetry_pb2.AgentNotice.FromString(report.payload))
        else:
            device.emits.append(report)
            self._answer(device, report)

    def _answer(self, device: FakeDevice, report: telemetry_pb2.Report) -> None:
        event_id = self._cloud.answers.get(report.topic)
        if event_id is None:
            return
        reply_id = hashlib.sha256(report.event_uid + report.topic.encode()).digest()[:16]
        device.replies[reply_id] = telemetry_pb2.Reply(
            reply_id=reply_id,
            task=report.task,
            event_id=event_id,
            cause_uid=report.event_uid,
            payload=report.payload,
        )

    async def get_ticket(self, digest: str) -> device_pb2.GetTicketResponse:
        """A ticket that the fake's supply does not ask for."""
        return device_pb2.GetTicketResponse(ticket=f"{self.device_id}:{digest}")

    async def close(self) -> None:
        """Nothing to close."""


class FakeSupply:
    """One device's supply; documents and files are verified as on a real device."""

    def __init__(self, cloud: FakeCloud, device_id: str) -> None:
        self._cloud = cloud
        self._device_id = device_id

    async def verify(
        self, envelope: bytes, *, held: tuple[int, int] | None, now_ms: int
    ) -> DirectorDocument:
        """Reads a document with the keys that the cloud really signs with."""
        return verify_director(
            envelope,
            keys={self._cloud.signer.keyid: self._cloud.signer.public_key},
            device=self._device_id,
            namespace=self._cloud.namespace,
            held=held,
            now_ms=now_ms,
        )

    async def fetch(
        self, instruction: TaskInstruction, missing: Sequence[tuple[BundleFile, Path]], now_ms: int
    ) -> None:
        """Hands files over, or loses the connection, or hands over what was tampered with."""
        del now_ms
        cloud = self._cloud
        check_files_against_targets(instruction, cloud.namespace, cloud.targets)
        for file, destination in missing:
            cloud.lose()
            data = cloud.tampered.get(file.digest, cloud.blobs[file.digest])
            if sha256(data) != file.digest:
                raise FileDamaged(f"{file.path}: the digest is not the one that was signed")
            partial = destination.with_name(destination.name + ".part")
            partial.write_bytes(data)
            partial.rename(destination)
            cloud.fetched[file.digest] += 1
