import { useState } from "react";
import type { Device } from "../api/types";
import { Link, navigate, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { usePaced, useResource } from "../state/resource";
import { Ago, Attributes, Card, DevicePill, Empty, Failure, Id, Page, Waiting } from "../ui/parts";

const STATUSES = ["", "online", "stale", "offline", "revoked"];
// A busy fleet changes its counts all the time; a table that jumps cannot be read.
const RELOAD_MS = 2_000;
/** A row stays a row, whatever a device holds or says of itself; its own page shows all. */
const TASKS_SHOWN = 2;
const ATTRIBUTES_SHOWN = 3;
const DEVICE_ID = /^[0-9a-f]{32}$/;

export function DevicesPage() {
  const { namespace, client } = usePlace();
  const { overview } = useLiveHere();
  const [status, setStatus] = useState("");
  const [prefix, setPrefix] = useState("");
  // The token of the page shown, and those of the pages before it.
  const [tokens, setTokens] = useState<string[]>([""]);
  const token = tokens.at(-1) ?? "";
  const asked = usePaced(prefix, 250);
  const counts = usePaced(JSON.stringify(overview?.devices), RELOAD_MS);
  const page = useResource(`${status} ${asked} ${token}`, counts, (signal) =>
    client.devices({ status, id_prefix: asked }, token, signal),
  );
  const items = page.data?.items;

  function look(next: { status?: string; prefix?: string }) {
    setTokens([""]);
    if (next.status !== undefined) setStatus(next.status);
    if (next.prefix !== undefined) setPrefix(next.prefix);
  }

  return (
    <Page title="Devices">
      <form
        className="filters"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          if (DEVICE_ID.test(prefix)) navigate(pathTo(namespace, "devices", prefix));
        }}
      >
        <input
          type="search"
          placeholder="Device id begins with…"
          aria-label="Device id begins with"
          value={prefix}
          spellCheck={false}
          onChange={(event) => look({ prefix: event.target.value.trim().toLowerCase() })}
        />
        <div className="segments" role="group" aria-label="Status">
          {STATUSES.map((one) => (
            <button key={one} type="button" aria-pressed={one === status} onClick={() => look({ status: one })}>
              {one || "all"}
            </button>
          ))}
        </div>
      </form>
      <Card flush>
        {page.error && <Failure error={page.error} retry={page.reload} />}
        {!items && !page.error && <Waiting rows={6} />}
        {items?.length === 0 &&
          (status || asked ? (
            <Empty title="No device is like that">Ask for less to see more.</Empty>
          ) : (
            <Empty title="No device has enrolled yet">
              <code>shoal device token create</code> makes a code that enrols one.
            </Empty>
          ))}
        {items && items.length > 0 && <DeviceTable items={items} />}
        {(tokens.length > 1 || page.data?.next_page_token) && (
          <nav className="pager" aria-label="Pages of devices">
            <button
              type="button"
              className="button"
              disabled={tokens.length === 1}
              onClick={() => setTokens(tokens.slice(0, -1))}
            >
              Previous
            </button>
            <span className="quiet">Page {tokens.length}</span>
            <button
              type="button"
              className="button"
              disabled={!page.data?.next_page_token}
              onClick={() => setTokens([...tokens, page.data?.next_page_token ?? ""])}
            >
              Next
            </button>
          </nav>
        )}
      </Card>
    </Page>
  );
}

function DeviceTable({ items }: { items: Device[] }) {
  const { namespace } = usePlace();
  return (
    <div className="table-holder">
      <table className="rows-link">
        <thead>
          <tr>
            <th>Device</th>
            <th>Status</th>
            <th>Runs</th>
            <th>Attributes</th>
            <th>Last seen</th>
          </tr>
        </thead>
        <tbody>
          {items.map((device) => (
            <tr key={device.id}>
              <td>
                <Link to={pathTo(namespace, "devices", device.id)}>
                  <Id value={device.id} />
                </Link>
              </td>
              <td>
                <DevicePill status={device.status} />
              </td>
              <td>{holds(device)}</td>
              <td>
                <Attributes of={attributesOf(device)} shown={ATTRIBUTES_SHOWN} />
              </td>
              <td className="quiet">
                <Ago at={device.last_seen_at_ms} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function holds(device: Device) {
  const tasks = Object.entries(device.installed);
  if (!tasks.length) return <span className="quiet">nothing</span>;
  const said = tasks.map(
    ([task, held]) => `${task} ${held.version}${held.state === "installed" ? "" : ` (${held.state})`}`,
  );
  const more = said.length - TASKS_SHOWN;
  return (
    <span title={said.join(", ")}>
      {said.slice(0, TASKS_SHOWN).join(", ")}
      {more > 0 && <span className="quiet"> and {more} more</span>}
    </span>
  );
}

/** What the operator said at enrolment, overridden by what the device says. */
export function attributesOf(device: Device): Record<string, string> {
  return { ...device.attributes, ...(device.facts.attributes as Record<string, string> | undefined) };
}
