import { useState } from "react";
import { type ApiError, told } from "../api/client";
import type { Release } from "../api/types";
import { share } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { Ago, Attributes, Card, Empty, Failure, Page, Progress, StatePill, Waiting } from "../ui/parts";

export function ReleasesPage() {
  const { namespace, client } = usePlace();
  const live = useLiveHere();
  const [older, setOlder] = useState<{ items: Release[]; token: string } | null>(null);
  const [asking, setAsking] = useState(false);
  const [trouble, setTrouble] = useState<ApiError | null>(null);
  // The first page is fetched for its token only once; what it shows comes from the stream.
  const first = useResource("releases", 0, (signal) => client.releases("", "", signal));
  const known = new Map<string, Release>();
  for (const release of [...(first.data?.items ?? []), ...(older?.items ?? [])]) known.set(release.id, release);
  for (const [id, release] of live.releases) known.set(id, release);
  const releases = [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  const token = older ? older.token : (first.data?.next_page_token ?? "");

  async function more() {
    setAsking(true);
    setTrouble(null);
    try {
      const page = await client.releases("", token);
      setOlder((before) => ({ items: [...(before?.items ?? []), ...page.items], token: page.next_page_token }));
    } catch (error) {
      setTrouble(told(error));
    } finally {
      setAsking(false);
    }
  }

  return (
    <Page title="Releases">
      <Card flush>
        {first.error && <Failure error={first.error} retry={first.reload} />}
        {!first.data && !first.error && <Waiting rows={6} />}
        {first.data && releases.length === 0 && (
          <Empty title="Nothing was released yet">
            <code>shoal release create TASK VERSION --start</code> begins a release.
          </Empty>
        )}
        {releases.length > 0 && (
          <div className="table-holder">
            <table className="rows-link">
              <thead>
                <tr>
                  <th>Release</th>
                  <th>State</th>
                  <th>For</th>
                  <th>Coverage</th>
                  <th>Made</th>
                </tr>
              </thead>
              <tbody>
                {releases.map((release) => (
                  <tr key={release.id}>
                    <td>
                      <Link to={pathTo(namespace, "releases", release.id)}>
                        <b>{release.task}</b> version {release.version}
                      </Link>
                    </td>
                    <td>
                      <StatePill state={release.state} />
                    </td>
                    <td>{audience(release)}</td>
                    <td>
                      <Progress of={release.coverage} />
                    </td>
                    <td className="quiet">
                      <Ago at={release.created_at_ms} /> by {release.created_by}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {trouble && <Failure error={trouble} retry={() => void more()} />}
        {token && !trouble && (
          <button type="button" className="button more" disabled={asking} onClick={() => void more()}>
            Older releases
          </button>
        )}
      </Card>
    </Page>
  );
}

function audience(release: Release) {
  const stage = release.stages[release.stage_index] ?? release.stages[0];
  const portion = share(stage?.share_ppm ?? 0);
  if (!Object.keys(release.targeting.attributes).length) return <>{portion} of all</>;
  return (
    <>
      {portion} of <Attributes of={release.targeting.attributes} />
    </>
  );
}
