"""A Sync that rides on an app's own request: the header out, and what comes back.

Rules of this module:

- The header is signed by the device's key, carries a fresh nonce and no acknowledgements.
- What comes back is trusted as little as any answer: a document is verified and compared with the held one.
- A profile that does not fit a header is not sent: the app's request goes out without it, and the next Sync asks.
"""

from random import Random
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from device_agent.agent.sync import Syncer
from device_agent.agent.trusted_clock import TrustedClock
from device_agent.errors import ShoalError
from device_agent.events.frames import FeedAnswer, FeedStatus
from device_agent.tasks.profile_header import (
    NONCE_BYTES,
    SYNC_NOW,
    decode_changes,
    encode_profile,
)
from device_agent.tasks.trust_errors import ProfileInvalid


class KeyHolder(Protocol):
    """Who the device is."""

    @property
    def namespace(self) -> str:
        """ "app/project"."""
        ...

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The device's private key."""
        ...


class BusinessSync:
    """Implements device_agent.events.server.BusinessFace for one agent."""

    def __init__(
        self, *, syncer: Syncer, identity: KeyHolder, clock: TrustedClock, random: Random
    ) -> None:
        self._syncer = syncer
        self._identity = identity
        self._clock = clock
        self._random = random

    def profile(self) -> str:
        """The value of the next `shoal-profile` header; empty when it would not fit."""
        request = self._syncer.request(with_acknowledgements=False)
        try:
            return encode_profile(
                self._identity.key,
                self._identity.namespace,
                request.SerializeToString(),
                self._random.randbytes(NONCE_BYTES),
                self._clock.wall_ms(),
            )
        except ProfileInvalid:
            return ""

    async def take_changes(self, header: str) -> FeedAnswer:
        """Takes a `shoal-changes` header in; a document that is refused changes nothing."""
        try:
            changes = decode_changes(header)
            if changes == SYNC_NOW:
                self._syncer.hurry()
            elif isinstance(changes, bytes):
                await self._syncer.take_document(changes)
        except ShoalError as error:
            return FeedAnswer(status=FeedStatus.REFUSED, code=error.code)
        return FeedAnswer(status=FeedStatus.ACCEPTED)
