"""Every limit of the gateway, with its unit."""

from dataclasses import dataclass

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """What a Sync may hold, and what its answer promises.

    Attributes:
        request_bytes_max: A longer request is refused unread.
        facts_bytes_max: Encoded facts, as protos/shoal/identity says.
        rows_max: Rows of a profile: as many as a document has tasks.
        acknowledgements_max: Acknowledgements a call.
        attributes_max: Attributes of a device.
        attribute_key_bytes_max: UTF-8 bytes of an attribute's name.
        attribute_value_bytes_max: UTF-8 bytes of an attribute's value.
        text_chars_max: Task names, digests, release ids, error codes and trace contexts in an acknowledgement.
        document_valid_ms: From issue to expiry of a director document.
        ticket_valid_ms: From issue to expiry of a ticket for an exclusive file.
    """

    request_bytes_max: int = 64 * 1024
    facts_bytes_max: int = 1024
    rows_max: int = 256
    acknowledgements_max: int = 64
    attributes_max: int = 32
    attribute_key_bytes_max: int = 64
    attribute_value_bytes_max: int = 256
    text_chars_max: int = 128
    document_valid_ms: int = 7 * DAY_MS
    ticket_valid_ms: int = 10 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingSettings:
    """When devices come back.

    Attributes:
        interval_ms: While no release is on its way.
        stepping_interval_ms: While one is.
        interval_ms_max: Back-pressure never stretches an interval beyond this.
        retry_ms: After "the gateway is behind": ask again.
        jitter_ppm: An interval is moved by up to this many millionths either way, by the device's id.
        syncs_per_s_max: Rate above which intervals stretch until it is kept.
    """

    interval_ms: int = 60_000
    stepping_interval_ms: int = 5_000
    interval_ms_max: int = 900_000
    retry_ms: int = 1_000
    jitter_ppm: int = 200_000
    syncs_per_s_max: int = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerSettings:
    """How a release set follows the database.

    Attributes:
        poll_ms: Between two looks, when nobody notifies.
        stale_after_ms: Without a successful look for so long, readiness and metrics say so; answers go on.
        changes_max: Entries of the change log in memory.
        changes_per_look_max: More changes than this since the last look load the namespace anew.
        namespaces_max: Namespaces that one gateway holds.
        devices_max: Devices whose enrolment attributes are held in memory, all namespaces together.
        devices_page: Devices read by one query.
        meet_ms_max: How long the first Sync of a device that is not in memory waits for it to be read.
        strangers_max: Devices remembered as not enrolled.
        stranger_ms: For so long, so that a device that was forgotten does not cost a query a Sync.
    """

    poll_ms: int = 500
    stale_after_ms: int = 10_000
    changes_max: int = 4096
    changes_per_look_max: int = 512
    namespaces_max: int = 10_000
    devices_max: int = 5_000_000
    devices_page: int = 5_000
    meet_ms_max: int = 250
    strangers_max: int = 10_000
    stranger_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings:
    """How acknowledgements and presence reach the database.

    Attributes:
        queue_max: Syncs with acknowledgements that wait for a commit; one more is answered "not durable".
        batch_max: Syncs whose acknowledgements one transaction takes.
        wait_ms_max: How long a Sync waits for its commit before it is answered "not durable".
        presence_devices_max: Devices whose presence waits to be written; more are dropped until the next Sync.
        presence_interval_ms: Between two writes of presence.
        presence_batch_max: Devices a transaction.
        clone_grace_ms: A Sync of an earlier process of a device may come so late; later, it is another device's.
        clone_returns_min: Syncs of an earlier process after that time that make a clone.
        clone_devices_max: Devices whose processes are remembered; the longest quiet are forgotten first.
    """

    queue_max: int = 4096
    batch_max: int = 256
    wait_ms_max: int = 2_000
    presence_devices_max: int = 100_000
    presence_interval_ms: int = 1_000
    presence_batch_max: int = 500
    clone_grace_ms: int = 120_000
    clone_returns_min: int = 2
    clone_devices_max: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessSettings:
    """The business request's header.

    Attributes:
        header_chars_max: Of `shoal-profile` and of `shoal-changes`, each.
        window_ms: How far the header's time may be from the gateway's.
        nonces_max: Nonces remembered; when they are full, headers go unanswered until older ones expire.
        headers_per_s_max: More than this go unanswered: the business request comes first.
    """

    header_chars_max: int = 4096
    window_ms: int = 120_000
    nonces_max: int = 200_000
    headers_per_s_max: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Limits of the device-facing gRPC server, to be given to grpc.aio.server.

    Attributes:
        message_bytes_max: Longest message received; a tunnel message is at most 256 KiB and its frame.
        streams_max: Concurrent calls of one connection.
        connection_idle_ms_max: A connection without calls is closed after this.
        connection_age_ms_max: Every connection is renewed after this, so that a drained server empties.
        keepalive_interval_ms_min: A device that pings more often is cut off.
    """

    message_bytes_max: int = 320 * 1024
    streams_max: int = 128
    connection_idle_ms_max: int = 300_000
    connection_age_ms_max: int = 3_600_000
    keepalive_interval_ms_min: int = 10_000

    def options(self) -> list[tuple[str, int]]:
        """As gRPC's channel arguments."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes_max),
            ("grpc.max_concurrent_streams", self.streams_max),
            ("grpc.max_connection_idle_ms", self.connection_idle_ms_max),
            ("grpc.max_connection_age_ms", self.connection_age_ms_max),
            ("grpc.http2.min_ping_interval_without_data_ms", self.keepalive_interval_ms_min),
            ("grpc.keepalive_permit_without_calls", 1),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """All of them.

    Attributes:
        sync: The call.
        pacing: When devices come back.
        follower: Where answers come from.
        recorder: Where acknowledgements go.
        business: The header face.
        server: The gRPC server.
    """

    sync: SyncSettings = SyncSettings()
    pacing: PacingSettings = PacingSettings()
    follower: FollowerSettings = FollowerSettings()
    recorder: RecorderSettings = RecorderSettings()
    business: BusinessSettings = BusinessSettings()
    server: ServerSettings = ServerSettings()
