"""Every limit of stored files, tickets and the HTTPS face."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSettings:
    """Settings of cloud/artifacts; docs/reference/settings/artifacts.md says what each is for."""

    blob_bytes_max: int = 2 * 1024 * 1024 * 1024
    stream_chunk_bytes: int = 256 * 1024
    ticket_lifetime_ms: int = 10 * 60 * 1000
    proof_window_ms: int = 5 * 60 * 1000
    request_body_bytes_max: int = 64 * 1024


SETTINGS = ArtifactSettings()
