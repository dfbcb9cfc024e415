"""The Sync that rides on an app's own traffic: a pure ASGI middleware around any business application.

    app = ShoalProfileMiddleware(app, ProfileFace(answerer, clock, settings))

Rules of this module:

- The business request comes first: whatever is wrong with a header, with us or with the database, the app answers as
  if Shoal were not there. Faults are counted by name.
- Nothing is awaited on the app's way: a header costs a signature check and a decision, when the response starts, and
  no more than so many a second.
- One decision for all faces: the answer is the gateway's own, as a document where it fits the header, else `sync-now`.
- No decision about a device that the gateway has not met: its Sync introduces it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from cloud.gateway.answer import Answerer
from cloud.gateway.decide import Kind
from cloud.gateway.nonces import SeenNonces
from cloud.gateway.settings import BusinessSettings
from cloud.rpc.peer import DevicePeer
from device_agent.clock import Clock
from device_agent.errors import ShoalError
from device_agent.tasks.profile_header import (
    CHANGES_HEADER,
    PROFILE_HEADER,
    decode_profile,
    encode_changes,
)
from device_agent.tasks.trust_errors import ProfileInvalid

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PROFILE = PROFILE_HEADER.encode()
_CHANGES = CHANGES_HEADER.encode()
_log = structlog.get_logger(__name__)


class ProfileFace:
    """Answers `shoal-profile` headers.

    Attributes:
        counts: How headers ended: none, document, sync_now, busy, or the code of what was wrong.
    """

    def __init__(
        self, answerer: Answerer, clock: Clock, settings: BusinessSettings | None = None
    ) -> None:
        self._answerer = answerer
        self._clock = clock
        self._settings = settings or BusinessSettings()
        # A header may be ahead of our clock as much as behind: it is acceptable for two windows.
        self._nonces = SeenNonces(
            window_ms=2 * self._settings.window_ms, nonces_max=self._settings.nonces_max
        )
        self._second = 0
        self._this_second = 0
        self.counts: Counter[str] = Counter()

    def answer(self, header: bytes) -> str | None:
        """The value of `shoal-changes`; None when there is nothing to say, or nothing can be said. Never raises."""
        try:
            now_ms = self._clock.wall_ms()
            if self._is_busy(now_ms):
                self.counts["busy"] += 1
                return None
            return self._answer(header, now_ms)
        except ShoalError as error:
            self.counts[error.code] += 1
        except Exception as error:  # the business request must not suffer from our bugs
            self.counts["INTERNAL"] += 1
            _log.error("gateway.profile_failed", exc_info=error)
        return None

    def _answer(self, header: bytes, now_ms: int) -> str | None:
        if len(header) > self._settings.header_chars_max:
            raise ProfileInvalid(f"longer than {self._settings.header_chars_max} characters")
        window_ms = self._settings.window_ms
        profile = decode_profile(header.decode("latin-1"), now_ms=now_ms, window_ms=window_ms)
        if not self._nonces.take(profile.device_id, profile.nonce, now_ms):
            raise ProfileInvalid("this header was seen before, or too many were")
        peer = DevicePeer(profile.device_id, profile.namespace)
        decision = self._answerer.decide(
            peer, profile.request, self._answerer.read(profile.request)
        )
        if decision.kind is not Kind.CHANGED:
            self.counts["none"] += 1
            return None
        release_set = self._answerer.set_for(peer)
        value = encode_changes(self._answerer.sign(release_set, peer, decision, now_ms))
        self.counts["document" if len(value) > len("sync-now") else "sync_now"] += 1
        return value

    def _is_busy(self, now_ms: int) -> bool:
        second = now_ms // 1000
        if second != self._second:
            self._second, self._this_second = second, 0
        self._this_second += 1
        return self._this_second > self._settings.headers_per_s_max


class ShoalProfileMiddleware:
    """Adds `shoal-changes` to the responses of an app whose requests carry `shoal-profile`."""

    def __init__(self, app: App, face: ProfileFace) -> None:
        self._app = app
        self._face = face

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the server's."""
        header = _profile_of(scope)
        if header is None:
            await self._app(scope, receive, send)
            return

        async def send_with_changes(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = self._face.answer(header)
                if value is not None:
                    headers = [*message.get("headers", ()), (_CHANGES, value.encode())]
                    message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_changes)


def _profile_of(scope: Scope) -> bytes | None:
    if scope["type"] != "http":
        return None
    for name, value in scope["headers"]:
        if name == _PROFILE:
            found: bytes = value
            return found
    return None
