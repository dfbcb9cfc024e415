// Small parts that every page is made of.
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import type { Counts, DeviceStatus, ReleaseState } from "../api/types";
import { ago, count, dateTime, isDate, part, short } from "../format";
import { useNow } from "../state/context";

const STATE_WORDS: Record<ReleaseState, string> = {
  draft: "Draft",
  running: "Running",
  paused: "Paused",
  completed: "Completed",
  aborted: "Aborted",
  rolled_back: "Rolled back",
  superseded: "Superseded",
};

export function StatePill({ state }: { state: ReleaseState }) {
  return <span className={`pill state-${state}`}>{STATE_WORDS[state]}</span>;
}

export function DevicePill({ status }: { status: DeviceStatus }) {
  const word = status[0]?.toUpperCase() + status.slice(1);
  return <span className={`pill device-${status}`}>{word}</span>;
}

export function Ago({ at, none = "never" }: { at: number | null; none?: string }) {
  const now = useNow();
  if (at === null) return <span className="quiet">{none}</span>;
  if (!isDate(at)) return <span className="quiet">{dateTime(at)}</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={dateTime(at)}>
      {ago(at, now)}
    </time>
  );
}

export function Id({ value }: { value: string }) {
  return (
    <code className="id" title={value}>
      {short(value)}
    </code>
  );
}

export function Page(props: { title: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <main id="main" className="page" tabIndex={-1}>
      <header className="page-head">
        <h1>{props.title}</h1>
        {props.aside && <div className="page-aside">{props.aside}</div>}
      </header>
      {props.children}
    </main>
  );
}

export function Card(props: { title?: string; aside?: ReactNode; children: ReactNode; flush?: boolean }) {
  return (
    <section className={props.flush ? "card flush" : "card"}>
      {props.title && (
        <header className="card-head">
          <h2>{props.title}</h2>
          {props.aside && <div className="card-aside">{props.aside}</div>}
        </header>
      )}
      {props.children}
    </section>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children && <div className="empty-text">{children}</div>}
    </div>
  );
}

export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div className="failure" role="alert">
      <div>
        <strong>{error.message}</strong>
        {error.hint && <p>{error.hint}</p>}
        <code>{error.code}</code>
      </div>
      {retry && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Grey bars where an answer is still on its way. */
export function Waiting({ rows = 3 }: { rows?: number }) {
  return (
    <div className="waiting" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        <span key={row} style={{ width: `${92 - ((row * 23) % 40)}%` }} />
      ))}
    </div>
  );
}

/** How far: installed, then failed, then notified, of all that are targeted. */
export function Meter({ of }: { of: Counts }) {
  const total = Math.max(of.targeted, 1);
  const waiting = Math.max(0, of.notified - of.installed - of.failed);
  const width = (value: number) => ({ width: `${Math.min(100, (value / total) * 100)}%` });
  const label = `${count(of.installed)} of ${count(of.targeted)} installed, ${count(of.failed)} failed`;
  return (
    <span className="meter" role="img" aria-label={label} title={label}>
      <span className="meter-installed" style={width(of.installed)} />
      <span className="meter-failed" style={width(of.failed)} />
      <span className="meter-notified" style={width(waiting)} />
    </span>
  );
}

export function Progress({ of }: { of: Counts }) {
  return (
    <span className="progress">
      <Meter of={of} />
      <span className="progress-text">
        {count(of.installed)} / {count(of.targeted)}
        <span className="quiet"> · {part(of.installed, of.targeted)}</span>
      </span>
    </span>
  );
}

export function Facts({ rows }: { rows: [ReactNode, ReactNode][] }) {
  return (
    <dl className="facts">
      {rows.map(([name, value], row) => (
        <div key={row}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Attributes({ of, shown }: { of: Record<string, string>; shown?: number }) {
  const entries = Object.entries(of).sort(([a], [b]) => a.localeCompare(b));
  if (!entries.length) return <span className="quiet">none</span>;
  return (
    <span className="attributes">
      {entries.slice(0, shown).map(([name, value]) => (
        <span key={name} className="attribute" title={`${name} ${value}`}>
          <span>{name}</span>
          {value}
        </span>
      ))}
      {shown !== undefined && entries.length > shown && (
        <span className="quiet">and {entries.length - shown} more</span>
      )}
    </span>
  );
}
