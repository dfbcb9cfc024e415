import { useState } from "react";
import { dateTime, devices } from "../format";
import { may, useLiveHere, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { ReasonDialog } from "../ui/dialog";
import { Card, Empty, Failure, Page, Waiting } from "../ui/parts";

interface Asked {
  task: string;
  killed: boolean;
}

export function StopPage() {
  const { client, me } = usePlace();
  const { overview } = useLiveHere();
  const [asked, setAsked] = useState<Asked | null>(null);
  const stopped = JSON.stringify(overview?.kill);
  const switches = useResource("kill", stopped, (signal) => client.killSwitches(signal));
  const tasks = useResource("tasks", overview?.epoch, (signal) => client.tasks(signal));
  const allowed = may(me, "kill:write");
  const set = new Map((switches.data?.items ?? []).map((row) => [row.task, row]));
  // What is stopped is shown in any case, also when it is no task (any more), or the list of tasks did not come.
  const names = new Set(["", ...(tasks.data?.items ?? []).map((task) => task.name), ...set.keys()]);
  const rows = [...names].sort();
  const error = switches.error ?? tasks.error;
  return (
    <Page title="Kill switch">
      <p className="lead">
        Stops a task everywhere, whatever is being released: devices keep it and do not run it, also after a restart and
        while they are offline.
      </p>
      <Card flush>
        {error && <Failure error={error} retry={() => (switches.reload(), tasks.reload())} />}
        {!switches.data && !error && <Waiting />}
        {switches.data && (
          <ul className="switches">
            {rows.map((task) => {
              const row = set.get(task);
              return (
                <li key={task} className={row ? "switch-set" : undefined}>
                  <div>
                    <strong>{task || "Every task of the namespace"}</strong>
                    {row ? (
                      <p>
                        Stopped by {row.set_by}, {dateTime(row.set_at_ms)}
                        {row.reason && <> · “{row.reason}”</>}
                      </p>
                    ) : (
                      <p className="quiet">may run</p>
                    )}
                  </div>
                  {allowed && (
                    <button
                      type="button"
                      className={row ? "button primary" : "button grave-text"}
                      onClick={() => setAsked({ task, killed: !row })}
                    >
                      {row ? "Let it run" : "Stop"}
                    </button>
                  )}
                </li>
              );
            })}
          </ul>
        )}
        {switches.data && rows.length === 1 && tasks.data && <Empty title="The namespace has no task yet" />}
      </Card>
      {asked && (
        <SwitchDialog
          asked={asked}
          close={() => {
            setAsked(null);
            switches.reload();
          }}
        />
      )}
    </Page>
  );
}

function SwitchDialog({ asked, close }: { asked: Asked; close: () => void }) {
  const { client } = usePlace();
  const { overview } = useLiveHere();
  const name = asked.task || "every task";
  const holding = asked.task
    ? (overview?.versions ?? []).filter((row) => row.task === asked.task).reduce((sum, row) => sum + row.devices, 0)
    : (overview?.devices.total ?? 0) - (overview?.devices.revoked ?? 0);
  return (
    <ReasonDialog
      title={asked.killed ? `Stop ${name}?` : `Let ${name} run again?`}
      action={asked.killed ? "Stop" : "Let it run"}
      grave={asked.killed}
      reasonNeeded={asked.killed}
      close={close}
      perform={async (reason) => void (await client.setKill(asked.task, asked.killed, reason))}
    >
      <p>
        Affects <b>{devices(holding)}</b>, at their next sync.
      </p>
    </ReasonDialog>
  );
}
