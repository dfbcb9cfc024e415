import { useMemo } from "react";
import type { Release, ReleaseDevice, ReleaseEvent } from "../api/types";
import { dateTime, devices as deviceCount, duration, share } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, useNow, usePlace } from "../state/context";
import { usePaced, useResource } from "../state/resource";
import { chartRows, CoverageChart } from "../ui/coverage-chart";
import { Ago, Attributes, Card, Empty, Facts, Failure, Id, Page, StatePill, Waiting } from "../ui/parts";
import { ReleaseActions } from "../ui/release-actions";
import { StageRail } from "../ui/stage-rail";

const REFETCH_MS = 400;

export function ReleasePage({ id }: { id: string }) {
  const { client } = usePlace();
  const live = useLiveHere();
  // An old release is not in the stream: it is fetched once, and again after a command.
  const fetched = useResource(id, 0, (signal) => client.release(id, signal));
  const release = live.releases.get(id) ?? fetched.data;
  if (!release) {
    return (
      <Page title="Release">
        <Card>
          {fetched.error ? <Failure error={fetched.error} retry={fetched.reload} /> : <Waiting rows={6} />}
        </Card>
      </Page>
    );
  }
  return <OneRelease release={release} />;
}

function OneRelease({ release }: { release: Release }) {
  const { client, namespace } = usePlace();
  const changed = usePaced(release, REFETCH_MS);
  const curve = useResource(release.id, changed, (signal) => client.curve(release.id, signal));
  const events = useResource(release.id, release.revision, (signal) => client.releaseEvents(release.id, signal));
  const devices = useResource(release.id, changed, (signal) => client.releaseDevices(release.id, signal));
  const now = useNow(2_000);
  const rows = useMemo(
    () => (curve.data ? chartRows(release, curve.data, events.data ?? [], now) : []),
    [release, curve.data, events.data, now],
  );
  const failures = (devices.data?.items ?? []).filter((row) => row.outcome === "failed");
  const looked = devices.data?.items.length ?? 0;
  return (
    <Page
      title={
        <>
          <Link to={pathTo(namespace, "tasks", release.task)} className="title-link">
            {release.task}
          </Link>{" "}
          version {release.version} <StatePill state={release.state} />
        </>
      }
      aside={<ReleaseActions release={release} />}
    >
      <Card title="Stages">
        <StageRail release={release} />
      </Card>
      <Card title="Coverage" aside={<Times p50={curve.data?.installed_p50_ms} p99={curve.data?.installed_p99_ms} />}>
        {curve.error && <Failure error={curve.error} retry={curve.reload} />}
        {!curve.data && !curve.error && <Waiting rows={4} />}
        {curve.data &&
          (rows.length ? (
            <CoverageChart rows={rows} />
          ) : (
            <Empty title="Not started">The curve begins with the release.</Empty>
          ))}
      </Card>
      <div className="grid">
        <Card title="Timeline" flush>
          {events.error && <Failure error={events.error} retry={events.reload} />}
          {!events.data && !events.error && <Waiting />}
          {events.data && <Timeline events={events.data} />}
        </Card>
        <div className="stack">
          {failures.length > 0 && <Failures rows={failures} looked={devices.data?.next_page_token ? looked : null} />}
          <Details release={release} />
        </div>
      </div>
    </Page>
  );
}

function Times({ p50, p99 }: { p50?: number | null | undefined; p99?: number | null | undefined }) {
  if (p50 === null || p50 === undefined || p99 === null || p99 === undefined) return null;
  return (
    <span className="quiet" title="From the start of the release until the cloud knew it was installed">
      installed after <b>{duration(p50)}</b> (median), <b>{duration(p99)}</b> (99th percentile)
    </span>
  );
}

function Timeline({ events }: { events: ReleaseEvent[] }) {
  return (
    <ol className="timeline">
      {events.toReversed().map((event) => (
        <li key={event.revision} className={`timeline-${event.state}`}>
          <div className="timeline-head">
            <strong>{title(event)}</strong>
            <span className="quiet">
              {event.actor} · <Ago at={event.at_ms} />
            </span>
          </div>
          <div className="quiet">{event.message}</div>
          {event.event.reason && <blockquote>{event.event.reason}</blockquote>}
        </li>
      ))}
    </ol>
  );
}

const COMMANDS = {
  start: "Started",
  pause: "Paused",
  resume: "Resumed",
  promote: "Promoted",
  abort: "Aborted",
  roll_back: "Rolled back",
};

function title({ event, state }: ReleaseEvent): string {
  switch (event.type) {
    case "created":
      return "Created";
    case "command":
      return event.command ? COMMANDS[event.command] : "Command";
    case "superseded":
      return "Superseded";
    case "restored":
      return "Restored";
    default:
      return state === "completed" ? "Completed by itself" : "Promoted by itself";
  }
}

/** `looked`: of how many devices these are the failures, when there are more than were looked at. */
function Failures({ rows, looked }: { rows: ReleaseDevice[]; looked: number | null }) {
  const { namespace } = usePlace();
  const codes = new Map<string, ReleaseDevice[]>();
  for (const row of rows) codes.set(row.error_code, [...(codes.get(row.error_code) ?? []), row]);
  const among = looked === null ? undefined : <span className="quiet">among the first {deviceCount(looked)}</span>;
  return (
    <Card title="Failures" flush aside={among}>
      <ul className="notices">
        {[...codes].map(([code, failed]) => (
          <li key={code}>
            <span className="notice-code bad">{code || "UNKNOWN"}</span>
            <span className="notice-text">{deviceCount(failed.length)}, for example</span>
            {failed.slice(0, 2).map((row) => (
              <Link key={row.device_id} to={pathTo(namespace, "devices", row.device_id)}>
                <Id value={row.device_id} />
              </Link>
            ))}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Details({ release }: { release: Release }) {
  const back = release.rollback_version;
  const all = Object.keys(release.targeting.attributes).length === 0;
  return (
    <Card title="Details">
      <Facts
        rows={[
          ["For", all ? "every device" : <Attributes of={release.targeting.attributes} />],
          ["Stages", release.stages.map((stage) => share(stage.share_ppm)).join(" → ")],
          ["Rolls back to", back ? `version ${back}` : "nothing: the task is removed"],
          ["Made", `${dateTime(release.created_at_ms)} by ${release.created_by}`],
          ["Started", release.started_at_ms === null ? "–" : dateTime(release.started_at_ms)],
          ["Release", <code key="id">{release.id}</code>],
          ["Trace", <code key="trace">{release.traceparent.split("-")[1] ?? "–"}</code>],
        ]}
      />
    </Card>
  );
}
