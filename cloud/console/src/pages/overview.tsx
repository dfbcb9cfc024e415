import type { Overview } from "../api/types";
import { count, part } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { Ago, Card, Empty, Id, Page, Progress, StatePill, Waiting } from "../ui/parts";

export function OverviewPage() {
  const { overview, trouble, link } = useLiveHere();
  if (!overview) {
    return (
      <Page title="Fleet">
        <Card>
          {link === "lost" && <Empty title="The cloud does not answer.">{trouble}</Empty>}
          {link === "refused" && <Empty title="Not for this token.">{trouble}</Empty>}
          {(link === "connecting" || link === "live") && <Waiting rows={5} />}
        </Card>
      </Page>
    );
  }
  return (
    <Page title="Fleet">
      <div className="grid">
        <DevicesCard overview={overview} />
        <VersionsCard overview={overview} />
      </div>
      <ActiveReleases overview={overview} />
      <div className="grid">
        <RunsCard overview={overview} />
        <NoticesCard />
      </div>
    </Page>
  );
}

const STATUSES = ["online", "stale", "offline", "revoked"] as const;

function DevicesCard({ overview }: { overview: Overview }) {
  const { namespace } = usePlace();
  const { devices } = overview;
  return (
    <Card title="Devices" aside={<Link to={pathTo(namespace, "devices")}>All devices</Link>}>
      <p className="figure">
        {count(devices.online)}
        <span className="figure-of"> of {count(devices.total)} online</span>
      </p>
      <span className="bar" aria-hidden="true">
        {STATUSES.map((status) => (
          <span key={status} className={`bar-${status}`} style={{ flexGrow: devices[status] }} />
        ))}
      </span>
      <ul className="legend">
        {STATUSES.filter((status) => status !== "revoked" || devices.revoked > 0).map((status) => (
          <li key={status}>
            <span className={`swatch bar-${status}`} aria-hidden="true" />
            {status} <b>{count(devices[status])}</b>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function VersionsCard({ overview }: { overview: Overview }) {
  const { namespace } = usePlace();
  const tasks = [...new Set(overview.versions.map((row) => row.task))];
  return (
    <Card title="Versions on devices">
      {tasks.length === 0 && (
        <Empty title="Nothing is installed yet">Publish a task and release it to see it spread.</Empty>
      )}
      {tasks.map((task) => {
        const rows = overview.versions
          .filter((row) => row.task === task)
          .sort((a, b) => b.version - a.version);
        return (
          <div key={task} className="spread">
            <Link to={pathTo(namespace, "tasks", task)} className="spread-name">
              {task}
            </Link>
            <span className="bar" aria-hidden="true">
              {rows.map((row, rank) => (
                <span key={row.version} className={`rank-${Math.min(rank, 4)}`} style={{ flexGrow: row.devices }} />
              ))}
            </span>
            <ul className="legend">
              {rows.map((row, rank) => (
                <li key={row.version}>
                  <span className={`swatch rank-${Math.min(rank, 4)}`} aria-hidden="true" />
                  version {row.version} <b>{count(row.devices)}</b>
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </Card>
  );
}

function ActiveReleases({ overview }: { overview: Overview }) {
  const { namespace } = usePlace();
  return (
    <Card title="Active releases" flush aside={<Link to={pathTo(namespace, "releases")}>All releases</Link>}>
      {overview.releases.length === 0 ? (
        <Empty title="No release is on its way">
          <code>shoal release create TASK VERSION --start</code> begins one.
        </Empty>
      ) : (
        <ul className="lines">
          {overview.releases.map((release) => (
            <li key={release.id}>
              <Link to={pathTo(namespace, "releases", release.id)} className="line">
                <span className="line-name">
                  <b>{release.task}</b> version {release.version}
                </span>
                <StatePill state={release.state} />
                <span className="quiet">
                  stage {release.stage_index + 1} of {release.stages.length}
                </span>
                <Progress of={release.coverage} />
                <span className="quiet line-time">
                  <Ago at={release.started_at_ms} none="not started" />
                </span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function RunsCard({ overview }: { overview: Overview }) {
  const versions = new Map<string, { task: string; version: number; ok: number; all: number; wall: number }>();
  for (const row of overview.runs) {
    const key = `${row.task} ${row.version}`;
    const known = versions.get(key) ?? { task: row.task, version: row.version, ok: 0, all: 0, wall: 0 };
    known.all += row.runs;
    known.wall += row.wall_us;
    if (row.outcome === "ok") known.ok += row.runs;
    versions.set(key, known);
  }
  const rows = [...versions.values()].sort((a, b) => a.task.localeCompare(b.task) || b.version - a.version);
  return (
    <Card title="Runs on devices" flush>
      {rows.length === 0 ? (
        <Empty title="No run was reported yet" />
      ) : (
        <div className="table-holder">
          <table>
            <thead>
              <tr>
                <th>Task</th>
                <th className="number">Runs</th>
                <th className="number">Ended well</th>
                <th className="number">Mean time</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={`${row.task} ${row.version}`}>
                  <td>
                    {row.task} <span className="quiet">version {row.version}</span>
                  </td>
                  <td className="number">{count(row.all)}</td>
                  <td className="number">{part(row.ok, row.all)}</td>
                  <td className="number">{(row.wall / Math.max(1, row.all) / 1000).toFixed(2)} ms</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function NoticesCard() {
  const { namespace } = usePlace();
  const { notices } = useLiveHere();
  return (
    <Card title="Notices from devices" flush>
      {notices.length === 0 ? (
        <Empty title="All quiet">What agents have to say of themselves appears here.</Empty>
      ) : (
        <ul className="notices">
          {notices.slice(0, 8).map((notice) => (
            <li key={notice.id}>
              <span className="notice-code">{notice.code}</span>
              <span className="notice-text">{notice.message}</span>
              <Link to={pathTo(namespace, "devices", notice.device_id)}>
                <Id value={notice.device_id} />
              </Link>
              <span className="quiet">
                <Ago at={notice.at_ms} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
