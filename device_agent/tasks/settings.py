"""Every limit of what a device fetches, verifies and keeps of its identity."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSettings:
    """Limits of TUF metadata; docs/reference/settings/trust.md says what each is for."""

    root_bytes_max: int = 256_000
    timestamp_bytes_max: int = 16_384
    snapshot_bytes_max: int = 2_000_000
    targets_bytes_max: int = 5_000_000
    root_rotations_max: int = 256
    delegations_max: int = 8
    director_keys_bytes_max: int = 16_384
    metadata_chunk_bytes: int = 64 * 1024
    metadata_wall_ms: int = 30_000
    # Metadata older than this is refreshed before it is relied on, so that revoked keys are noticed.
    fresh_ms: int = 10 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """Limits of downloads; docs/reference/settings/trust.md says what each is for."""

    concurrency: int = 4
    chunk_bytes: int = 64 * 1024
    attempts: int = 5
    backoff_first_ms: int = 500
    backoff_ms_max: int = 30_000
    # Slower than this over a window is a slow-retrieval attack, or a link that is better tried again later.
    throughput_bytes_s_min: int = 1024
    throughput_window_ms: int = 20_000
    connect_timeout_ms: int = 10_000
    read_timeout_ms: int = 20_000
    disk_reserve_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Limits of enrolment and renewal; docs/reference/settings/trust.md says what each is for."""

    answer_bytes_max: int = 1024 * 1024
    # A certificate is renewed when less than this share of its life is left.
    renew_share: float = 0.33
    certificate_life_ms: int = 90 * 24 * 3600 * 1000


TRUST = TrustSettings()
DOWNLOAD = DownloadSettings()
IDENTITY = IdentitySettings()
