"""Which process is killed at which failpoint, with SIGKILL; tests/architecture compares with the code.

What operators do rarely ends in an exception at its failpoints, inside the test's process: IN_PROCESS.

tests/e2e/test_failpoint_kills.py goes through all but the last two, test_command_kills.py and test_server_kills.py
through those.
"""

from collections.abc import Mapping

KILLED_IN: Mapping[str, tuple[str, ...]] = {
    "agent": (
        "agent.start.recovered",
        "agent.loop.started",
        "agent.feed.stored",
        "agent.run.marked",
        "agent.run.returned",
        "agent.run.consumed",
        "agent.store.committing",
        "agent.store.committed",
        "agent.tunnel.taken",
        "agent.tunnel.confirmed",
        "agent.sync.answered",
        "agent.sync.acks_dropped",
        "agent.sync.epoch_adopted",
        "agent.sync.verified",
        "agent.sync.accepted",
        "trust.metadata.refreshed",
        "trust.director_keys.written",
        "agent.install.admitted",
        "download.part.synced",
        "download.file.renamed",
        "agent.install.fetched",
        "agent.install.staged",
        "agent.install.renamed",
        "agent.install.switched",
        "agent.clean_up.removed",
        "agent.install.put_off",
        "agent.run.broken",
        "agent.sync.clock_mended",
        "agent.expiry.told",
        "agent.tunnel.renumbered",
        "agent.store.set_aside",
    ),
    "enrolment": (
        "identity.file.written",
        "identity.enrol.stored",
    ),
    "cloud": (
        "keys.enrol.before_commit",
        "store.transaction.committing",
        "store.transaction.committed",
        "bus.publish.before_commit",
        "bus.trim.before_commit",
        "telemetry.ingest.published",
        "telemetry.ingest.before_commit",
        "telemetry.ingest.committed",
        "telemetry.reply.before_forget",
        "gateway.presence.committed",
        "registry.prepare.stored",
        "registry.prepare.recorded",
        "artifacts.blob.before_put",
        "artifacts.object.written",
        "keys.publish.roles_written",
        "keys.publish.snapshot_written",
        "keys.publish.timestamp_written",
        "registry.publish.signed",
        "registry.publish.recorded",
        "rollout.step.written",
        "rollout.outcomes.written",
        "gateway.ack.before_commit",
        "gateway.ack.committed",
        "rollout.kill_set.written",
        "rollout.kill_cleared.written",
        "admin.token.written",
    ),
    "first start": (
        "keys.init.written",
        "store.migrate.before_commit",
        "server.token.recorded",
        "server.file.written",
    ),
    "consumer": (
        "bus.take.before_commit",
        "telemetry.consume.before_commit",
        "telemetry.consume.committed",
        "telemetry.reply.before_commit",
        "bus.publish.committed",
        "bus.ack.before_commit",
        "bus.ack.committed",
    ),
    "commands": (
        "store.backup.before_name",
        "store.restore.before_commit",
        "keys.restore.written",
        "keys.root.written",
        "compiler.write.flushed",
    ),
    "redis": (
        "bus.redis_publish.answered",
        "bus.redis_ack.answered",
    ),
}

IN_PROCESS: Mapping[str, str] = {
    "admin.namespace.delegated": "tests/unit/admin/test_trust_commands.py",
    "agent.worn.noted": "tests/unit/agent/test_worn.py",
    "admin.trust.published": "tests/unit/admin/test_trust_commands.py",
    "identity.enrol.old_removed": "tests/unit/keys/test_enrolment_service.py",
    "keys.successor.retired": "tests/unit/keys/test_successors.py",
    "keys.successor.written": "tests/unit/keys/test_successors.py",
}
