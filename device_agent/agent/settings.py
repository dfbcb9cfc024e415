"""Every limit of the agent, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Limits of the agent; docs/reference/settings/agent.md says what each is for.

    Attributes:
        events_open_max: Events that wait for a run.
        events_open_bytes_max: Their bytes.
        seen_uids_max: Uids remembered after their events were consumed, to drop duplicates.
        reports_max: Reports that wait for the cloud; at the limit tasks wait, nothing is dropped.
        reports_bytes_max: Their bytes.
        acks_max: Acknowledgements that wait; at the limit no new document is taken.
        acks_per_sync_max: Acknowledgements in one Sync.
        reports_per_message_max: Reports in one tunnel message.
        message_bytes_max: Their bytes.
        sync_after_ms_min: Shortest pause between Syncs that the cloud may ask for.
        sync_after_ms_max: Longest.
        retry_ms_min: First pause after a failure; doubles with each.
        retry_ms_max: Longest pause after failures.
        revoked_retry_ms: Pause after the cloud said that this device is revoked.
        hurry_ms_max: A Sync that has something to say comes at a random time within this.
        skew_ms_max: The cloud's time is adopted when the device's differs by more.
        tunnel_idle_ms: A tunnel stays open this long for answers after its last word.
        answer_ms_max: A cloud that is silent this long on the tunnel counts as unreachable.
        tunnel_poll_ms: With nothing to say, the tunnel is opened this often to hear of answers.
        install_tries_max: Tries of one instruction at growing pauses after the peer's faults.
        given_up_retry_ms: Pause between the tries after those.
        events_handed_max: Events of one task that wait for their turn in a VM; the rest waits on disk.
        runs_parallel_max: Events in VMs at the same moment, all tasks together.
        deaths_max: Deaths of the agent inside a task, without a finished run between, that quarantine it.
        vms_left_behind_max: More VMs in calls that do not come back, and the agent drains and restarts itself.
        left_bytes_max: More memory that VMs have not given back, and it does the same.
        partials_bytes_max: Partial downloads kept over a restart.
        bundle_bytes_max: One bundle.
        recording_bytes_max: One recording of events; at the limit it stands still.
        renew_check_ms: How often the certificate's age is looked at.
        drain_ms_max: How long SIGTERM waits for running tasks.
    """

    events_open_max: int = 10_000
    events_open_bytes_max: int = 32 * 1024 * 1024
    seen_uids_max: int = 100_000
    reports_max: int = 20_000
    reports_bytes_max: int = 32 * 1024 * 1024
    acks_max: int = 4_096
    acks_per_sync_max: int = 64
    reports_per_message_max: int = 256
    message_bytes_max: int = 256 * 1024
    sync_after_ms_min: int = 100
    sync_after_ms_max: int = 24 * 3_600_000
    retry_ms_min: int = 500
    retry_ms_max: int = 15 * 60_000
    revoked_retry_ms: int = 3_600_000
    hurry_ms_max: int = 500
    skew_ms_max: int = 5 * 60_000
    tunnel_idle_ms: int = 20_000
    answer_ms_max: int = 30_000
    tunnel_poll_ms: int = 5 * 60_000
    install_tries_max: int = 5
    given_up_retry_ms: int = 6 * 3_600_000
    events_handed_max: int = 16
    runs_parallel_max: int = 4
    deaths_max: int = 3
    vms_left_behind_max: int = 8
    left_bytes_max: int = 512 * 1024 * 1024
    partials_bytes_max: int = 256 * 1024 * 1024
    bundle_bytes_max: int = 512 * 1024 * 1024
    recording_bytes_max: int = 64 * 1024 * 1024
    renew_check_ms: int = 3_600_000
    drain_ms_max: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPolicy:
    """What this device allows, whatever the cloud wants; [policy] of agent.toml.

    Attributes:
        battery_percent_min: Below this, and not charging, nothing is installed.
        metered_bytes_max: Largest bundle that is fetched over a metered network.
        disk_quota_bytes: All bundles together.
    """

    battery_percent_min: int = 15
    metered_bytes_max: int = 1024 * 1024
    disk_quota_bytes: int = 1024 * 1024 * 1024
