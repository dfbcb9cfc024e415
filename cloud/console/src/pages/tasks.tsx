import { count } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { Ago, Card, Empty, Failure, Id, Page, Waiting } from "../ui/parts";

export function TasksPage() {
  const { namespace, client } = usePlace();
  const { overview } = useLiveHere();
  // Publishing raises no epoch; a release does, and then a new version is likely.
  const tasks = useResource("tasks", overview?.epoch, (signal) => client.tasks(signal));
  const items = tasks.data?.items;
  return (
    <Page title="Tasks">
      <Card flush>
        {tasks.error && <Failure error={tasks.error} retry={tasks.reload} />}
        {!items && !tasks.error && <Waiting rows={4} />}
        {items?.length === 0 && (
          <Empty title="No task yet">
            <code>shoal task init</code> begins one, <code>shoal task publish</code> brings it here.
          </Empty>
        )}
        {items && items.length > 0 && (
          <div className="table-holder">
            <table className="rows-link">
              <thead>
                <tr>
                  <th>Task</th>
                  <th className="number">Newest version</th>
                  <th className="number">Devices</th>
                  <th>Digest</th>
                  <th>Published</th>
                </tr>
              </thead>
              <tbody>
                {items.map((task) => (
                  <tr key={task.name}>
                    <td>
                      <Link to={pathTo(namespace, "tasks", task.name)}>
                        <b>{task.name}</b>
                      </Link>
                    </td>
                    <td className="number">{task.latest_version || "–"}</td>
                    <td className="number">
                      {count(
                        (overview?.versions ?? [])
                          .filter((row) => row.task === task.name)
                          .reduce((sum, row) => sum + row.devices, 0),
                      )}
                    </td>
                    <td>{task.digest ? <Id value={task.digest} /> : "–"}</td>
                    <td className="quiet">
                      <Ago at={task.published_at_ms} /> {task.published_by && `by ${task.published_by}`}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Card>
    </Page>
  );
}
