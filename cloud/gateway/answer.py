"""Request bytes in, answer bytes out: parse once, compare epochs, and only then look closer.

Rules of this module:

- Answers from memory: no database, no file, no waiting. What is refused raises; nothing else does.
- A revoked device is refused before anything is concluded for it.
- Answers are put together from fields encoded beforehand: epoch, pacing and time are bytes, documents are fragments.
- A device whose enrolment the gateway has not read yet is told to ask again: never decided for without its attributes.
"""

import enum
from collections.abc import Mapping
from typing import Protocol

import msgspec
from shoal.device.v1 import device_pb2

from cloud.gateway.checks import check_profile, read_request
from cloud.gateway.decide import Decision, Kind, compare, decide
from cloud.gateway.errors import NamespaceNotServed
from cloud.gateway.pacing import (
    PLACES,
    PREFIX_CHARS,
    PREFIXES,
    PRESSURE_STEPS,
    Load,
    base_ms,
    next_sync_after_ms,
)
from cloud.gateway.profile import DeviceView
from cloud.gateway.release_set import ReleaseSet
from cloud.gateway.settings import GatewaySettings
from cloud.gateway.wire import bytes_field, varint_field
from cloud.keys.errors import DeviceRevoked
from cloud.rpc.peer import DevicePeer

_NEXT, _DIRECTOR, _RETRY, _TIME, _ACKNOWLEDGED = range(2, 7)


class Signer(Protocol):
    """Signs ready documents: cloud.keys.director.DirectorSigner."""

    def sign_payload(self, payload: bytes) -> bytes:
        """The envelope around a document that is already encoded."""
        ...


class Sets(Protocol):
    """Where answers come from: cloud.gateway.follower.Follower."""

    def set_for(self, namespace: str) -> ReleaseSet | None:
        """The newest release set of a namespace."""
        ...

    def enrolled(self, namespace: str, device_id: str) -> Mapping[str, str] | None:
        """Attributes given at enrolment; None when the device has not been read yet."""
        ...


class Outcome(enum.IntEnum):
    """What became of a Sync, for the metrics."""

    SAME = 0
    NOTHING = 1
    CHANGED = 2
    RETRY = 3
    REFUSED = 4


class _Document(msgspec.Struct):
    """device_agent.tasks.director.DirectorDocument with its parts already encoded."""

    device: str
    namespace: str
    epoch: int
    issued_at_ms: int
    expires_at_ms: int
    tasks: list[msgspec.Raw]
    kill: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_KINDS = {Kind.SAME: Outcome.SAME, Kind.NOTHING: Outcome.NOTHING, Kind.RETRY: Outcome.RETRY}


class Answerer:
    """Answers Syncs.

    Attributes:
        counts: How often each Outcome came about.
        left_out: Installations that did not fit a document.
    """

    def __init__(self, sets: Sets, signer: Signer, settings: GatewaySettings) -> None:
        self._sets = sets
        self._signer = signer
        self._settings = settings
        self._load = Load(settings.pacing)
        self._bases = [base_ms(settings.pacing, stepping=one) for one in (False, True)]
        self._paces: dict[tuple[bool, int], dict[str, bytes]] = {}
        self._retry = varint_field(_NEXT, settings.pacing.retry_ms) + varint_field(_RETRY, 1)
        self._now_ms = -1
        self._time = b""
        self.counts = [0] * len(Outcome)
        self.left_out = 0

    def read(self, data: bytes) -> device_pb2.SyncRequest:
        """The request in these bytes; raises SyncInvalid."""
        return read_request(data, self._settings.sync)

    def answer(
        self, peer: DevicePeer, data: bytes, request: device_pb2.SyncRequest, now_ms: int
    ) -> bytes:
        """The encoded SyncResponse.

        Args:
            data: The bytes that `request` was read from.

        Raises:
            DeviceRevoked, NamespaceNotServed, SyncInvalid: the device gets no answer.
        """
        release_set = self.set_for(peer)
        epoch = request.epoch
        decision = compare(release_set, epoch)
        if decision is None:
            decision = self._decide(release_set, peer, data, request)
        if decision.kind is Kind.CHANGED:
            self.counts[Outcome.CHANGED] += 1
            envelope = self.sign(release_set, peer, decision, now_ms)
            director = bytes_field(_DIRECTOR, envelope)
            return self._frame(release_set, peer, now_ms) + director + self._at(now_ms)
        self.counts[_KINDS[decision.kind]] += 1
        if decision.kind is Kind.RETRY:
            return release_set.epoch_field + self._retry + self._at(now_ms)
        return self._frame(release_set, peer, now_ms) + self._at(now_ms)

    def set_for(self, peer: DevicePeer) -> ReleaseSet:
        """The device's release set.

        Raises:
            DeviceRevoked, NamespaceNotServed: the device gets no answer.
        """
        release_set = self._sets.set_for(peer.namespace)
        if release_set is None:
            raise NamespaceNotServed(
                "this cloud does not serve the namespace of the certificate; enrol the device again"
            )
        if peer.device_id in release_set.revoked:
            raise DeviceRevoked("the device was revoked; ask its operator")
        return release_set

    def decide(self, peer: DevicePeer, data: bytes, request: device_pb2.SyncRequest) -> Decision:
        """The bare decision, for faces that answer in another form."""
        release_set = self.set_for(peer)
        known = compare(release_set, request.epoch)
        return known or self._decide(release_set, peer, data, request)

    def sign(
        self, release_set: ReleaseSet, peer: DevicePeer, decision: Decision, now_ms: int
    ) -> bytes:
        """The signed document of a CHANGED decision."""
        self.left_out += decision.left_out
        document = _Document(
            device=peer.device_id,
            namespace=peer.namespace,
            epoch=release_set.epoch,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + self._settings.sync.document_valid_ms,
            tasks=[msgspec.Raw(one) for one in decision.instructions],
            kill=msgspec.Raw(release_set.kill_json),
        )
        return self._signer.sign_payload(_encode(document))

    def _decide(
        self,
        release_set: ReleaseSet,
        peer: DevicePeer,
        data: bytes,
        request: device_pb2.SyncRequest,
    ) -> Decision:
        check_profile(request, self._settings.sync)
        enrolled = self._sets.enrolled(peer.namespace, peer.device_id)
        if enrolled is None:
            return Decision(Kind.RETRY)
        return decide(
            release_set, DeviceView(peer.device_id, data, request, enrolled), request.epoch
        )

    def _frame(self, release_set: ReleaseSet, peer: DevicePeer, now_ms: int) -> bytes:
        stepping = release_set.stepping
        level = self._load.count(now_ms, self._bases[stepping])
        paces = self._paces.get((stepping, level))
        if paces is None:
            paces = self._pace_fields(stepping, level)
        return release_set.epoch_field + paces[peer.device_id[:PREFIX_CHARS]]

    def _pace_fields(self, stepping: bool, level: int) -> dict[str, bytes]:
        fields = {
            prefix: varint_field(
                _NEXT,
                next_sync_after_ms(
                    self._settings.pacing,
                    place=place,
                    stepping=stepping,
                    pressure=level / PRESSURE_STEPS,
                ),
            )
            for place, prefix in enumerate(PREFIXES)
        }
        if len(self._paces) >= PLACES:
            self._paces.clear()
        self._paces[stepping, level] = fields
        return fields

    def _at(self, now_ms: int) -> bytes:
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            self._time = varint_field(_TIME, now_ms)
        return self._time


def acknowledged(sequence: int) -> bytes:
    """The field that says what is durable, to be joined to an answer."""
    return varint_field(_ACKNOWLEDGED, sequence) if sequence else b""
