import { useState } from "react";
import type { Version } from "../api/types";
import { bytes, count } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { Ago, Card, Empty, Failure, Id, Page, Progress, StatePill, Waiting } from "../ui/parts";

export function TaskPage({ task }: { task: string }) {
  const { client } = usePlace();
  const { overview } = useLiveHere();
  const versions = useResource(task, overview?.epoch, (signal) => client.versions(task, signal));
  const [open, setOpen] = useState<number | null>(null);
  const items = versions.data?.items.toSorted((a, b) => b.version - a.version);
  const shown = open ?? items?.[0]?.version ?? null;
  return (
    <Page title={task}>
      <Card title="Versions" flush>
        {versions.error && <Failure error={versions.error} retry={versions.reload} />}
        {!items && !versions.error && <Waiting />}
        {items?.length === 0 && <Empty title="No version yet" />}
        {items && items.length > 0 && <Versions task={task} items={items} shown={shown} open={setOpen} />}
      </Card>
      {shown !== null && <Files task={task} version={shown} />}
      <TaskReleases task={task} />
    </Page>
  );
}

function Versions(props: { task: string; items: Version[]; shown: number | null; open: (version: number) => void }) {
  const { overview } = useLiveHere();
  const on = (version: number) =>
    overview?.versions.find((row) => row.task === props.task && row.version === version)?.devices ?? 0;
  return (
    <div className="table-holder">
      <table>
        <thead>
          <tr>
            <th>Version</th>
            <th>State</th>
            <th className="number">Devices</th>
            <th>Digest</th>
            <th>Commit</th>
            <th>Made</th>
          </tr>
        </thead>
        <tbody>
          {props.items.map((version) => (
            <tr key={version.version} className={version.version === props.shown ? "chosen" : undefined}>
              <td>
                <button
                  type="button"
                  className="text-button"
                  aria-pressed={version.version === props.shown}
                  onClick={() => props.open(version.version)}
                >
                  Version {version.version}
                </button>
              </td>
              <td>
                <span className={`pill version-${version.state}`}>{version.state}</span>
              </td>
              <td className="number">{count(on(version.version))}</td>
              <td>
                <Id value={version.digest} />
              </td>
              <td>{version.source_commit ? <Id value={version.source_commit} /> : <span className="quiet">–</span>}</td>
              <td className="quiet">
                <Ago at={version.created_at_ms} /> by {version.created_by}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Files({ task, version }: { task: string; version: number }) {
  const { client } = usePlace();
  const detail = useResource(`${task} ${version}`, 0, (signal) => client.version(task, version, signal));
  return (
    <Card title={`Files of version ${version}`} flush>
      {detail.error && <Failure error={detail.error} retry={detail.reload} />}
      {!detail.data && !detail.error && <Waiting />}
      {detail.data && (
        <div className="table-holder">
          <table>
            <thead>
              <tr>
                <th>Path</th>
                <th>Kind</th>
                <th>Python</th>
                <th>Scope</th>
                <th className="number">Size</th>
                <th>Digest</th>
              </tr>
            </thead>
            <tbody>
              {detail.data.files.map((file) => (
                <tr key={`${file.kind} ${file.path} ${file.python_tag}`}>
                  <td>{file.path}</td>
                  <td className="quiet">{file.kind}</td>
                  <td className="quiet">{file.python_tag || "–"}</td>
                  <td className="quiet">{file.scope}</td>
                  <td className="number">{bytes(file.size)}</td>
                  <td>
                    <Id value={file.digest} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function TaskReleases({ task }: { task: string }) {
  const { namespace } = usePlace();
  const { releases } = useLiveHere();
  const mine = [...releases.values()].filter((one) => one.task === task).sort((a, b) => (a.id < b.id ? 1 : -1));
  if (!mine.length) return null;
  return (
    <Card title="Releases" flush>
      <ul className="lines">
        {mine.map((release) => (
          <li key={release.id}>
            <Link to={pathTo(namespace, "releases", release.id)} className="line">
              <span className="line-name">version {release.version}</span>
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
    </Card>
  );
}
