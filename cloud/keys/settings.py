"""Every limit and lifetime of keys, certificates and the TUF repository.

Rules of this module:

- A lifetime is as short as what renews it allows: by machine days, by hand a year.
- CA and server certificates do not expire, so that a device with a wrong clock can still speak TLS; device
  certificates do, and the cloud checks them with its own clock.
"""

from dataclasses import dataclass

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """Settings of cloud/keys; docs/reference/settings/keys.md says what each is for."""

    root_keys: int = 3
    root_threshold: int = 2
    root_lifetime_ms: int = 365 * DAY_MS
    targets_lifetime_ms: int = 365 * DAY_MS
    delegated_lifetime_ms: int = 365 * DAY_MS
    snapshot_lifetime_ms: int = 7 * DAY_MS
    timestamp_lifetime_ms: int = 1 * DAY_MS
    # Online metadata is signed anew when less than this share of its lifetime is left.
    online_refresh_share: float = 0.5
    delegated_lifetime_ms_max: int = 2 * 365 * DAY_MS
    role_bytes_max: int = 4_000_000
    device_certificate_ms: int = 90 * DAY_MS
    device_certificate_backdate_ms: int = 1 * DAY_MS
    token_lifetime_ms: int = 7 * DAY_MS
    token_lifetime_ms_max: int = 90 * DAY_MS
    request_window_ms: int = 5 * 60 * 1000
    csr_bytes_max: int = 4096
    facts_bytes_max: int = 4096
    backup_bytes_max: int = 16 * 1024 * 1024
    # Enrolments a second and at once, of one source address and of all; a factory's devices share an address.
    enrol_source_per_second: float = 5.0
    enrol_source_burst: int = 200
    enrol_per_second: float = 100.0
    enrol_burst: int = 2_000
    enrol_refusal_cost: int = 20
    enrol_sources_max: int = 10_000
    expiry_warning_days: int = 30
    expiry_online_warning_share: float = 0.25
    expiry_names_logged_max: int = 20


SETTINGS = KeySettings()
