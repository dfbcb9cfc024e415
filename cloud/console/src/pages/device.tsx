import type { Device } from "../api/types";
import { dateTime } from "../format";
import { Link, pathTo } from "../routing";
import { useLiveHere, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { Ago, Attributes, Card, DevicePill, Empty, Facts, Failure, Id, Page, StatePill, Waiting } from "../ui/parts";

export function DevicePage({ id }: { id: string }) {
  const { client } = usePlace();
  const { overview } = useLiveHere();
  const device = useResource(id, overview, (signal) => client.device(id, signal));
  if (!device.data) {
    return (
      <Page title="Device">
        <Card>{device.error ? <Failure error={device.error} retry={device.reload} /> : <Waiting rows={5} />}</Card>
      </Page>
    );
  }
  return (
    <Page
      title={
        <>
          Device <code>{id.slice(0, 12)}</code> <DevicePill status={device.data.status} />
        </>
      }
    >
      <div className="grid">
        <Identity device={device.data} />
        <Told device={device.data} />
      </div>
      <Held device={device.data} />
      <Notices id={id} />
    </Page>
  );
}

function Identity({ device }: { device: Device }) {
  return (
    <Card title="Identity">
      <Facts
        rows={[
          ["Id", <code key="id">{device.id}</code>],
          ["Last seen", <Ago key="seen" at={device.last_seen_at_ms} />],
          ["Epoch held", String(device.epoch)],
          ["Enrolled", dateTime(device.enrolled_at_ms)],
          ["Certificate until", dateTime(device.certificate_expires_at_ms)],
          ...(device.revoked_at_ms === null
            ? []
            : ([["Revoked", dateTime(device.revoked_at_ms)]] as [string, string][])),
          ["Given at enrolment", <Attributes key="given" of={device.attributes} />],
        ]}
      />
    </Card>
  );
}

const FACTS: [string, string][] = [
  ["os", "System"],
  ["os_version", "System version"],
  ["app_version", "App"],
  ["agent_version", "Agent"],
  ["python_tag", "Python"],
  ["guest_api", "Guest API"],
  ["op_set", "Op set"],
];

function Told({ device }: { device: Device }) {
  const { facts } = device;
  const features = (facts.cpu_features as string[] | undefined) ?? [];
  const told = FACTS.filter(([name]) => facts[name] !== undefined && facts[name] !== "");
  if (!told.length) {
    return (
      <Card title="What it says of itself">
        <Empty title="It has not synced yet" />
      </Card>
    );
  }
  return (
    <Card title="What it says of itself">
      <Facts
        rows={[
          ...told.map(([name, title]) => [title, String(facts[name])] as [string, string]),
          ["CPU features", features.join(", ") || "–"],
          ["Attributes", <Attributes key="own" of={(facts.attributes ?? {}) as Record<string, string>} />],
        ]}
      />
    </Card>
  );
}

function Held({ device }: { device: Device }) {
  const { overview } = useLiveHere();
  const held = Object.keys(device.installed);
  const released = overview?.releases.map((release) => release.task) ?? [];
  const tasks = [...new Set([...held, ...released])].sort();
  return (
    <>
      {tasks.length === 0 && (
        <Card title="Tasks">
          <Empty title="It holds no task, and none is being released" />
        </Card>
      )}
      {tasks.map((task) => (
        <TaskOnDevice key={task} device={device} task={task} />
      ))}
    </>
  );
}

function TaskOnDevice({ device, task }: { device: Device; task: string }) {
  const { client, namespace } = usePlace();
  const { overview } = useLiveHere();
  const held = device.installed[task];
  const why = useResource(`${device.id} ${task}`, overview?.epoch, (signal) => client.why(device.id, task, signal));
  return (
    <Card
      flush
      title={task}
      aside={
        held ? (
          <span>
            holds version {held.version} <span className={`pill held-${held.state}`}>{held.state}</span>
          </span>
        ) : (
          <span className="quiet">does not hold it</span>
        )
      }
    >
      {why.error && <Failure error={why.error} retry={why.reload} />}
      {!why.data && !why.error && <Waiting rows={2} />}
      {why.data && (
        <>
          <p className="why">
            At its next sync it would be told: <b>{why.data.decision}</b>
          </p>
          <ul className="notices">
            {why.data.releases.map((one) => (
              <li key={one.release_id} className={one.decides ? "decides" : undefined}>
                <StatePill state={one.state} />
                <span className="notice-text">{one.reason}</span>
                <Link to={pathTo(namespace, "releases", one.release_id)}>
                  <code className="id">…{one.release_id.slice(-8)}</code>
                </Link>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}

function Notices({ id }: { id: string }) {
  const { client } = usePlace();
  const { overview } = useLiveHere();
  const notices = useResource(id, overview?.notices, (signal) => client.notices(id, signal));
  return (
    <Card title="What its agent said" flush>
      {notices.error && <Failure error={notices.error} retry={notices.reload} />}
      {notices.data?.items.length === 0 && <Empty title="Nothing out of the ordinary" />}
      <ul className="notices">
        {notices.data?.items.map((notice) => (
          <li key={notice.id}>
            <span className="notice-code">{notice.code}</span>
            <span className="notice-text">{notice.message}</span>
            <Id value={notice.device_id} />
            <span className="quiet">
              <Ago at={notice.at_ms} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
