"""Every limit of the tunnel, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Limits of the tunnel, of ingest and of replies.

    Attributes:
        reports_max: Reports a message.
        message_bytes_max: Payloads of a message together, and what frames them.
        payload_bytes_max: Payload of one report or reply.
        received_max: Reply ids that one message confirms.
        tunnels_max: Open tunnels of one server; one more is refused.
        idle_ms_max: A tunnel on which the device says nothing for so long is ended; it opens another.
        queue_max: Messages that wait for a commit, of all tunnels together.
        batch_max: Messages a transaction.
        replies_pending_max: Replies of one device that wait to be received; one more is refused.
        replies_window: Replies sent on a tunnel and not yet received, at most.
        replies_poll_ms: Between two looks for replies that another server has stored.
        replies_poll_max: Devices with waiting replies that one look reads.
        notice_chars_max: Of an agent's notice; the rest is cut.
        consumed_valid_ms: How long a consumer remembers a record: longer than the bus redelivers.
    """

    reports_max: int = 256
    message_bytes_max: int = 256 * 1024
    payload_bytes_max: int = 64 * 1024
    received_max: int = 256
    tunnels_max: int = 20_000
    idle_ms_max: int = 300_000
    queue_max: int = 4096
    batch_max: int = 128
    replies_pending_max: int = 1_000
    replies_window: int = 64
    replies_poll_ms: int = 1_000
    replies_poll_max: int = 10_000
    notice_chars_max: int = 512
    consumed_valid_ms: int = 7 * 24 * 60 * 60 * 1000
