"""Every limit of the operators' faces, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Limits.

    Attributes:
        page_size_default: Items of a list when the caller names no size.
        page_size_max: Most items of a list.
        body_bytes_max: Longest request body; a bundle travels in one, in base64.
        sse_poll_ms: How often an open event stream looks for changes that other processes made.
        sse_rest_factor: After looks at the database that took t, event streams rest at least t times this.
        sse_heartbeat_ms: Longest silence of an event stream; the token is checked again at each heartbeat.
        sse_streams_max: Event streams that one process serves at once.
        sse_releases_max: Newest releases that an event stream follows.
        online_ms_max: A device seen within this time is online.
        stale_ms_max: A device seen within this time, but not online, is stale; later it is offline.
        enrolment_tokens_max: Enrolment tokens that one request makes.
        enrolment_valid_s_max: Longest validity of an enrolment token.
        token_valid_s_max: Longest validity of an operator's token that ends.
        reason_chars_max: Longest reason.
        idempotency_key_chars_max: Longest idempotency key.
        drain_ms: Time that running requests get when the process is told to stop.
    """

    page_size_default: int = 100
    page_size_max: int = 500
    body_bytes_max: int = 64 * 1024 * 1024
    sse_poll_ms: int = 500
    sse_rest_factor: int = 20
    sse_heartbeat_ms: int = 15_000
    sse_streams_max: int = 256
    sse_releases_max: int = 50
    online_ms_max: int = 120_000
    stale_ms_max: int = 3_600_000
    enrolment_tokens_max: int = 1_000
    enrolment_valid_s_max: int = 30 * 24 * 3600
    token_valid_s_max: int = 10 * 365 * 24 * 3600
    reason_chars_max: int = 1_024
    idempotency_key_chars_max: int = 128
    drain_ms: int = 10_000
