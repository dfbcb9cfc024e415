"""When what was signed stops being valid: told ahead of time, because devices stop installing when it has.

Rules of this module:

- Every role and the certificates of CA and server are looked at; a device certificate renews itself.
- What is signed by hand is warned of by days, what the server signs itself by the share of its life that is left.
- The look is pure; ExpiryWatch carries it to the metrics and the log.
"""

import datetime as dt
import enum
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from cryptography import x509
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from cloud.keys.metrics import SECONDS_LEFT
from cloud.keys.settings import DAY_MS, SETTINGS, KeySettings

_log = structlog.get_logger(__name__)


class Kind(enum.StrEnum):
    """What expires."""

    ROOT = "root"
    TARGETS = "targets"
    NAMESPACE = "namespace"
    TASK = "task"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"
    CA = "ca"
    SERVER = "server"


class State(enum.StrEnum):
    """How an expiry stands."""

    OK = "ok"
    SOON = "soon"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """One thing that expires.

    Attributes:
        name: Role, or "ca", "server".
        version: Of the role; 0 for certificates.
        keyids: Who signs the role; empty for certificates.
        threshold: How many of them must.
    """

    kind: Kind
    name: str
    expires_at_ms: int
    version: int = 0
    keyids: tuple[str, ...] = ()
    threshold: int = 1

    def state(self, now_ms: int, settings: KeySettings = SETTINGS) -> State:
        """How it stands now."""
        left_ms = self.expires_at_ms - now_ms
        if left_ms <= 0:
            return State.EXPIRED
        return State.SOON if left_ms < _warning_ms(self.kind, settings) else State.OK


def _warning_ms(kind: Kind, settings: KeySettings) -> float:
    share = settings.expiry_online_warning_share
    if kind is Kind.SNAPSHOT:
        return settings.snapshot_lifetime_ms * share
    if kind is Kind.TIMESTAMP:
        return settings.timestamp_lifetime_ms * share
    return settings.expiry_warning_days * DAY_MS


def role_expiry(
    name: str,
    signed: Root | Targets | Snapshot | Timestamp,
    keyids: Iterable[str] = (),
    threshold: int = 1,
) -> Expiry:
    """The expiry of a role's metadata."""
    kinds = {2: Kind.NAMESPACE, 3: Kind.TASK}
    return Expiry(
        kind=kinds.get(len(name.split("."))) or Kind(name),
        name=name,
        expires_at_ms=_ms(signed.expires),
        version=signed.version,
        keyids=tuple(sorted(keyids)),
        threshold=threshold,
    )


def certificate_expiry(kind: Kind, pem: bytes) -> Expiry:
    """The expiry of the first certificate of a chain."""
    leaf = x509.load_pem_x509_certificates(pem)[0]
    return Expiry(kind=kind, name=kind.value, expires_at_ms=_ms(leaf.not_valid_after_utc))


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


class ExpiryWatch:
    """Looks again and again, and says what nears its end.

    Attributes:
        warnings: What the last look found, a sentence a kind, without names: /readyz needs no token.
    """

    def __init__(
        self, read: Callable[[], Sequence[Expiry]], settings: KeySettings = SETTINGS
    ) -> None:
        self.read = read
        self._settings = settings
        self.warnings: tuple[str, ...] = ()

    def look(self, now_ms: int) -> None:
        """Sets the metrics, and writes one warning for all that expires soon or has."""
        found = self.read()
        for kind in Kind:
            ends = [one.expires_at_ms for one in found if one.kind is kind]
            if ends:
                SECONDS_LEFT.labels(kind.value).set((min(ends) - now_ms) / 1000)
        states = [(one, one.state(now_ms, self._settings)) for one in found]
        ending = sorted(
            (one for one, state in states if state is not State.OK),
            key=lambda one: one.expires_at_ms,
        )
        counted = Counter((one.kind, state) for one, state in states if state is not State.OK)
        self.warnings = tuple(
            f"keys: {count} of kind {kind} {'expired' if state is State.EXPIRED else 'expires soon'}"
            for (kind, state), count in sorted(counted.items())
        )
        if ending:
            _log.warning(
                "keys.expiring",
                count=len(ending),
                names=[one.name for one in ending[: self._settings.expiry_names_logged_max]],
                first_days=round((ending[0].expires_at_ms - now_ms) / DAY_MS, 1),
                hint="`shoal keys status` lists them, `shoal keys renew --due` signs anew",
            )
