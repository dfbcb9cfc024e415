"""The first schema.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "api_tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_api_tokens")),
    )
    op.create_table(
        "audit_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(length=256), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("row_hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_audit_log_namespace_id"), "audit_log", ["namespace", "id"], unique=False
    )
    op.create_table(
        "bus_groups",
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("consumer_group", sa.String(length=64), nullable=False),
        sa.Column("delivered_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "consumer_group", name=op.f("pk_bus_groups")),
    )
    op.create_table(
        "bus_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bus_log")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_bus_log_topic_id"), "bus_log", ["topic", "id"], unique=False)
    op.create_table(
        "bus_pending",
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("consumer_group", sa.String(length=64), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("delivered_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "topic", "consumer_group", "record_id", name=op.f("pk_bus_pending")
        ),
    )
    op.create_table(
        "changes",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "epoch", name=op.f("pk_changes")),
    )
    op.create_table(
        "consumed_records",
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("consumer_group", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "consumer_group", "key", name=op.f("pk_consumed_records")),
    )
    op.create_table(
        "device_streams",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace", "device_id", "stream", "boot", name=op.f("pk_device_streams")
        ),
    )
    op.create_table(
        "devices",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate_serial", sa.String(length=64), nullable=False),
        sa.Column("certificate_expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("installed", sa.JSON(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("namespace", "device_id", name=op.f("pk_devices")),
    )
    op.create_table(
        "enrolment_tokens",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("used_by", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("namespace", "token_hash", name=op.f("pk_enrolment_tokens")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.String(length=71), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "kill_switches",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("set_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=256), nullable=False),
        sa.Column("reason", sa.String(length=1024), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task", name=op.f("pk_kill_switches")),
    )
    op.create_table(
        "namespaces",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name=op.f("pk_namespaces")),
    )
    op.create_table(
        "notices",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("message", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_notices_namespace_device_id"), "notices", ["namespace", "device_id"], unique=False
    )
    op.create_table(
        "release_devices",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("release_id", sa.String(length=32), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=False),
        sa.Column("notified_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("installed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace", "release_id", "device_id", name=op.f("pk_release_devices")
        ),
    )
    op.create_table(
        "release_events",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("release_id", sa.String(length=32), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("event", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace", "release_id", "revision", name=op.f("pk_release_events")
        ),
    )
    op.create_table(
        "releases",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("release_id", sa.String(length=32), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("machine", sa.JSON(), nullable=False),
        sa.Column("targeting", sa.JSON(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("stage_index", sa.Integer(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("rollback_version", sa.Integer(), nullable=False),
        sa.Column("traceparent", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "release_id", name=op.f("pk_releases")),
    )
    op.create_index(
        op.f("ix_releases_namespace_task"), "releases", ["namespace", "task"], unique=False
    )
    op.create_table(
        "replies",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("device_id", sa.String(length=32), nullable=False),
        sa.Column("reply_id", sa.String(length=32), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("cause_uid", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "device_id", "reply_id", name=op.f("pk_replies")),
    )
    op.create_table(
        "run_counts",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=64), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace", "task", "version", "outcome", name=op.f("pk_run_counts")
        ),
    )
    op.create_table(
        "task_versions",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("source_commit", sa.String(length=64), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("published_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("namespace", "task", "version", name=op.f("pk_task_versions")),
        sa.UniqueConstraint(
            "namespace", "task", "digest", name=op.f("uq_task_versions_namespace_task_digest")
        ),
    )
    op.create_table(
        "tasks",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task", name=op.f("pk_tasks")),
    )
    op.create_table(
        "version_files",
        sa.Column("namespace", sa.String(length=130), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("path", sa.String(length=256), nullable=False),
        sa.Column("python_tag", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace",
            "task",
            "version",
            "kind",
            "path",
            "python_tag",
            name=op.f("pk_version_files"),
        ),
    )


def downgrade() -> None:
    """Drops every table."""
    op.drop_table("version_files")
    op.drop_table("tasks")
    op.drop_table("task_versions")
    op.drop_table("run_counts")
    op.drop_table("replies")
    op.drop_index(op.f("ix_releases_namespace_task"), table_name="releases")
    op.drop_table("releases")
    op.drop_table("release_events")
    op.drop_table("release_devices")
    op.drop_index(op.f("ix_notices_namespace_device_id"), table_name="notices")
    op.drop_table("notices")
    op.drop_table("namespaces")
    op.drop_table("kill_switches")
    op.drop_table("idempotency_keys")
    op.drop_table("enrolment_tokens")
    op.drop_table("devices")
    op.drop_table("device_streams")
    op.drop_table("consumed_records")
    op.drop_table("changes")
    op.drop_table("bus_pending")
    op.drop_index(op.f("ix_bus_log_topic_id"), table_name="bus_log")
    op.drop_table("bus_log")
    op.drop_table("bus_groups")
    op.drop_index(op.f("ix_audit_log_namespace_id"), table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_table("api_tokens")
