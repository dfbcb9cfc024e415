"""What an operator sees: plain values that REST, gRPC and the command line all write down.

Rules of this module:

- Times are milliseconds since 1970, shares are millionths, a missing time is None.
- No view holds a secret; a token or code that is shown once has a view of its own, named so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

type Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeView:
    """Who a token stands for."""

    actor: str
    namespace: str
    scopes: tuple[str, ...]
    expires_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceView:
    """A namespace and the epoch of its release set."""

    namespace: str
    epoch: int
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task and its newest published version; version 0 and no digest before the first."""

    name: str
    latest_version: int
    digest: str
    created_at_ms: int
    created_by: str
    published_at_ms: int | None
    published_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One version of a task; state is prepared or published."""

    task: str
    version: int
    digest: str
    state: str
    source_commit: str
    created_at_ms: int
    created_by: str
    published_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """One file of a version."""

    kind: str
    path: str
    python_tag: str
    digest: str
    size: int
    scope: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetail:
    """A version with its manifest and files."""

    version: VersionView
    manifest: Json
    files: tuple[FileView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What became of one file between two versions; change is added, removed or changed."""

    path: str
    change: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffView:
    """What differs between two versions."""

    task: str
    from_version: int
    to_version: int
    files: tuple[FileChange, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One stage: a share of the devices that match, and when it goes on by itself (0 waits)."""

    share_ppm: int
    promote_at_ppm: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetingView:
    """Whom a release is for: each attribute must be equal; empty is all."""

    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageView:
    """How far a release has come, in devices."""

    targeted: int = 0
    notified: int = 0
    installed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """A release."""

    id: str
    task: str
    version: int
    state: str
    targeting: TargetingView
    stages: tuple[StageView, ...]
    stage_index: int
    coverage: CoverageView
    rollback_version: int
    traceparent: str
    created_at_ms: int
    created_by: str
    started_at_ms: int | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveragePoint:
    """Devices at one moment, counted from the release's start."""

    at_ms: int
    notified: int
    installed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageCurve:
    """A release's coverage over time."""

    release_id: str
    coverage: CoverageView
    points: tuple[CoveragePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEventView:
    """One step of a release's history."""

    revision: int
    at_ms: int
    actor: str
    event: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDeviceView:
    """What one device acknowledged of a release."""

    device_id: str
    outcome: str
    error_code: str
    notified_at_ms: int | None
    installed_at_ms: int | None
    updated_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device; status is online, stale, offline or revoked."""

    id: str
    status: str
    attributes: Json
    facts: Json
    installed: Any
    epoch: int
    enrolled_at_ms: int
    last_seen_at_ms: int | None
    revoked_at_ms: int | None
    certificate_expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReason:
    """Why one release is, or is not, what decides for a device."""

    release_id: str
    version: int
    state: str
    included: bool
    decides: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """What a device shall do about one task, and how that follows from the releases."""

    device_id: str
    task: str
    action: str
    version: int
    summary: str
    releases: tuple[ReleaseReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentTokenView:
    """An enrolment token, without the token; id is the start of its hash."""

    id: str
    attributes: Json
    created_at_ms: int
    created_by: str
    expires_at_ms: int
    used_at_ms: int | None
    used_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCodeOnce:
    """Enrolment codes, shown once: each enrols one device."""

    codes: tuple[str, ...]
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """An operator's token, without the token; id is the start of its hash."""

    id: str
    actor: str
    namespace: str
    scopes: tuple[str, ...]
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOnce:
    """A new operator's token, shown once."""

    token: str
    view: TokenView


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSwitchView:
    """What may not run; an empty task is every task of the namespace."""

    task: str
    set_at_ms: int
    set_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochView:
    """The epoch that carries a change to the devices."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """One row of the audit log."""

    id: int
    at_ms: int
    actor: str
    action: str
    object: str
    detail: Json
    row_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """Whether the audit log's chain holds; keep `head` elsewhere: it shows rows that vanish from the end."""

    intact: bool
    rows: int
    head: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeView:
    """What an agent said of itself."""

    id: int
    device_id: str
    at_ms: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCounts:
    """Devices by status; a device is counted once."""

    total: int
    online: int
    stale: int
    offline: int
    revoked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCount:
    """How many devices hold a version."""

    task: str
    version: int
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """Runs of a version by outcome: "ok" or an error code."""

    task: str
    version: int
    outcome: str
    runs: int
    wall_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KillView:
    """What is stopped."""

    all: bool
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """The fleet on one page."""

    namespace: str
    epoch: int
    now_ms: int
    devices: DeviceCounts
    versions: tuple[VersionCount, ...]
    releases: tuple[ReleaseView, ...]
    runs: tuple[RunCount, ...]
    kill: KillView
    notices: int
