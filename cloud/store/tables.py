"""Every table of the control plane, for SQLite and PostgreSQL alike.

Rules of this module:

- Every row belongs to a namespace ("app/project"), named in its key.
- Times are milliseconds since 1970 in BIGINT columns named `*_at_ms`; digests are "sha256:" and 64 hex digits.
- A change that an operator makes writes its audit row in the same transaction.
- A change of what devices should run bumps the namespace's epoch in the same transaction (cloud/store/epochs.py).
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = sa.JSON
# SQLite gives a rowid alias only to INTEGER primary keys. Tables with one also say sqlite_autoincrement: SQLite would
# give the id of a deleted newest row again, and who has read "up to id 7" would never see the new 7.
RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# --- namespaces and the order of change -------------------------------------------------------------------------

namespaces = sa.Table(
    "namespaces",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    # Epoch of the release set: max(previous + 1, wall clock ms), so that it never goes back, not even after a restore.
    sa.Column("epoch", sa.BigInteger, nullable=False),
)

# One row a change that devices may have to hear of; gateways follow it. kind: release | kill | revocation.
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    # Task name for release and kill ("" is all tasks), device id for revocation.
    sa.Column("subject", sa.String(64), nullable=False),
)

# --- registry ---------------------------------------------------------------------------------------------------

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("task", sa.String(64), primary_key=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
)

# state: prepared (stored, not yet signed) | published.
task_versions = sa.Table(
    "task_versions",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("task", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("manifest", Json, nullable=False),
    # Git's commit in SHA-1 or SHA-256, and "+dirty" when files differed from it.
    sa.Column("source_commit", sa.String(80)),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("published_at_ms", sa.BigInteger),
    sa.Column("published_by", sa.String(256)),
    sa.UniqueConstraint("namespace", "task", "digest"),
)

# Files of a version. kind: source (stays in the cloud) | manifest | bytecode | resource (these three are TUF targets) |
# unsigned (bytecode that was added to a version later and waits for its publisher's signature).
version_files = sa.Table(
    "version_files",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("task", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("path", sa.String(256), primary_key=True),
    # Bytecode tag, e.g. "cpython-313-3571"; "" for the other kinds.
    sa.Column("python_tag", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("scope", sa.String(16), nullable=False),
    # TUF target path; "" for sources.
    sa.Column("target", sa.String(512), nullable=False),
)

# --- releases ---------------------------------------------------------------------------------------------------

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("release_id", sa.String(32), primary_key=True),
    sa.Column("task", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # draft | running | paused | completed | aborted | rolled_back | superseded
    sa.Column("state", sa.String(16), nullable=False),
    # The machine's whole state as JSON (cloud/rollout/machine.py), replayable from release_events.
    sa.Column("machine", Json, nullable=False),
    sa.Column("targeting", Json, nullable=False),
    # [{share_ppm, promote_at_ppm}]
    sa.Column("stages", Json, nullable=False),
    sa.Column("stage_index", sa.Integer, nullable=False),
    sa.Column("salt", sa.String(64), nullable=False),
    sa.Column("rollback_version", sa.Integer, nullable=False),
    sa.Column("traceparent", sa.String(64), nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("started_at_ms", sa.BigInteger),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Index(None, "namespace", "task"),
)

release_events = sa.Table(
    "release_events",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("release_id", sa.String(32), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("event", Json, nullable=False),
)

# What each device acknowledged of each release; the coverage curve is read from its times.
release_devices = sa.Table(
    "release_devices",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("release_id", sa.String(32), primary_key=True),
    sa.Column("device_id", sa.String(32), primary_key=True),
    # notified | installed | failed | removed | rolled_back | deferred
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("error_code", sa.String(64), nullable=False),
    sa.Column("notified_at_ms", sa.BigInteger),
    sa.Column("installed_at_ms", sa.BigInteger),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)

kill_switches = sa.Table(
    "kill_switches",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    # "" is all tasks of the namespace.
    sa.Column("task", sa.String(64), primary_key=True),
    sa.Column("set_at_ms", sa.BigInteger, nullable=False),
    sa.Column("set_by", sa.String(256), nullable=False),
    sa.Column("reason", sa.String(1024), nullable=False),
)

# --- devices ----------------------------------------------------------------------------------------------------

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    # First 32 hex digits of SHA-256 over the public key (SubjectPublicKeyInfo).
    sa.Column("device_id", sa.String(32), primary_key=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("certificate_serial", sa.String(64), nullable=False),
    sa.Column("certificate_expires_at_ms", sa.BigInteger, nullable=False),
    sa.Column("enrolled_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_at_ms", sa.BigInteger),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Column("installed", Json, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at_ms", sa.BigInteger),
    # When two devices were found to speak with this one's certificate; enrolling anew with another key ends it.
    sa.Column("cloned_at_ms", sa.BigInteger),
)

# High-water marks for de-duplication. stream: ack | report.
device_streams = sa.Table(
    "device_streams",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("device_id", sa.String(32), primary_key=True),
    sa.Column("stream", sa.String(8), primary_key=True),
    sa.Column("boot", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
)

enrolment_tokens = sa.Table(
    "enrolment_tokens",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    # SHA-256 of the token, hex; the token itself is shown once.
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.Column("used_at_ms", sa.BigInteger),
    sa.Column("used_by", sa.String(32)),
)

# The cloud's answers that a device has not yet confirmed.
replies = sa.Table(
    "replies",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("device_id", sa.String(32), primary_key=True),
    sa.Column("reply_id", sa.String(32), primary_key=True),
    sa.Column("task", sa.String(64), nullable=False),
    sa.Column("event_id", sa.BigInteger, nullable=False),
    sa.Column("cause_uid", sa.String(32), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
)

# Runs counted as their reports arrive.
run_counts = sa.Table(
    "run_counts",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("task", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    # "ok" or an error code.
    sa.Column("outcome", sa.String(64), primary_key=True),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("wall_us", sa.BigInteger, nullable=False),
)

# What agents say of themselves (expired document, safe mode, clock mended).
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String(130), nullable=False),
    sa.Column("device_id", sa.String(32), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("message", sa.String(512), nullable=False),
    sa.Index(None, "namespace", "device_id"),
    sa.Index(None, "namespace", "id"),
    sqlite_autoincrement=True,
)

# --- the embedded bus -------------------------------------------------------------------------------------------

bus_log = sa.Table(
    "bus_log",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    # "app/project/..." : a topic starts with its namespace.
    sa.Column("topic", sa.String(256), nullable=False),
    sa.Column("key", sa.String(128), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index(None, "topic", "id"),
    sqlite_autoincrement=True,
)

# Records handed to a consumer of a group and not yet acknowledged.
bus_groups = sa.Table(
    "bus_groups",
    metadata,
    sa.Column("topic", sa.String(256), primary_key=True),
    sa.Column("consumer_group", sa.String(64), primary_key=True),
    # Every record up to here was handed out at least once.
    sa.Column("delivered_id", sa.BigInteger, nullable=False),
)

bus_pending = sa.Table(
    "bus_pending",
    metadata,
    sa.Column("topic", sa.String(256), primary_key=True),
    sa.Column("consumer_group", sa.String(64), primary_key=True),
    sa.Column("record_id", sa.BigInteger, primary_key=True),
    sa.Column("consumer", sa.String(64), nullable=False),
    sa.Column("delivered_at_ms", sa.BigInteger, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False),
)

# Keys of bus records whose results a consumer group has committed; forgotten after a time.
consumed_records = sa.Table(
    "consumed_records",
    metadata,
    sa.Column("topic", sa.String(256), primary_key=True),
    sa.Column("consumer_group", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

# --- operators --------------------------------------------------------------------------------------------------

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    # SHA-256 of the token, hex.
    sa.Column("token_hash", sa.String(64), primary_key=True),
    # Who acts: shown in the audit log.
    sa.Column("actor", sa.String(256), nullable=False),
    # "app/project" or "*".
    sa.Column("namespace", sa.String(130), nullable=False),
    # e.g. ["task:read", "release:write"]; "*" is all.
    sa.Column("scopes", Json, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.Column("revoked_at_ms", sa.BigInteger),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("namespace", sa.String(130), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    # Digest of the request: the same key with another request is refused.
    sa.Column("request_digest", sa.String(71), nullable=False),
    sa.Column("result", Json, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
)

# Hash-chained: row_hash = SHA-256 over the previous row's hash and this row's canonical JSON.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("namespace", sa.String(130), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("object", sa.String(256), nullable=False),
    sa.Column("detail", Json, nullable=False),
    sa.Column("row_hash", sa.String(64), nullable=False),
    sa.Index(None, "namespace", "id"),
    sqlite_autoincrement=True,
)
