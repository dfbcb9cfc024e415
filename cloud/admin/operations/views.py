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
class TrustRowView:
    """A role or certificate and when it expires; state is ok, soon or expired."""

    name: str
    kind: str
    version: int
    expires_at_ms: int
    state: str
    keyids: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustView:
    """What the cloud's signatures stand on, as far as the token may see."""

    items: tuple[TrustRowView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataView:
    """Published metadata of one role, to be signed anew."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessorView:
    """A key that the server has made and nothing names yet; its private half never leaves the server."""

    keyid: str
    public_hex: str


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
class VersionDetail(VersionView):
    """A version with its manifest and files."""

    manifest: Json
    files: tuple[FileView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """A file that a publisher vouches for: TUF target, digest, size, places in the bundle."""

    target: str
    digest: str
    size: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedView:
    """What a publisher signs next, and the metadata that the signature builds on."""

    task: str
    version: int
    digest: str
    already_published: bool
    targets: tuple[TargetView, ...]
    base: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChangeView:
    """What became of one file between two versions; change is added, removed or changed."""

    kind: str
    path: str
    change: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffView:
    """What differs between two versions: files, and as text fields of the manifest and lines of scripts."""

    task: str
    from_version: int
    to_version: int
    files: tuple[FileChangeView, ...]
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
class CountsView:
    """Devices that a stage is for, and what became of it on them."""

    targeted: int = 0
    notified: int = 0
    installed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageView(CountsView):
    """How far a release has come, in devices; `stages` says the same of each stage, as if it were out."""

    stages: tuple[CountsView, ...] = ()


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
    """A release's coverage over time, and how long from its start until devices had it (None: none has)."""

    release_id: str
    coverage: CoverageView
    points: tuple[CoveragePoint, ...]
    installed_p50_ms: int | None
    installed_p99_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEventView:
    """One step of a release's history; state, stage_index and message say where it stood afterwards."""

    revision: int
    at_ms: int
    actor: str
    event: Json
    state: str
    stage_index: int
    message: str


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
    cloned_at_ms: int | None
    certificate_expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReason:
    """Why one release is, or is not, what decides for a device."""

    release_id: str
    state: str
    included: bool
    decides: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """What a device would be told of a task now, and how that follows from the releases, newest first."""

    device_id: str
    task: str
    decision: str
    instruction: Json | None
    releases: tuple[ReleaseReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenView:
    """A device that is no more, and how many rows went with it."""

    device_id: str
    rows: int


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
class EnrolmentCode:
    """A code that enrols one device."""

    code: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCodesOnce:
    """Enrolment codes, shown once."""

    items: tuple[EnrolmentCode, ...]


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
