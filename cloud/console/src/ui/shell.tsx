// The frame of every page: where one is, where one can go, and whether what is shown is live.
import type { ReactNode } from "react";
import { Link, pathTo, type Route } from "../routing";
import { useLiveHere, usePlace } from "../state/context";

const PAGES = [
  ["overview", "Overview"],
  ["releases", "Releases"],
  ["tasks", "Tasks"],
  ["devices", "Devices"],
  ["stop", "Kill switch"],
] as const;

export function Shell(props: { route: Route; leave: () => void; children: ReactNode }) {
  const { namespace, me } = usePlace();
  const { overview } = useLiveHere();
  const stopped = overview ? overview.kill.all || overview.kill.tasks.length > 0 : false;
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to content
      </a>
      <aside className="side">
        <Link to={pathTo(namespace)} className="brand">
          <Mark /> Shoal
        </Link>
        <Link to="/console/" className="where">
          <span className="quiet">Namespace</span>
          {namespace}
        </Link>
        <nav aria-label="Pages">
          {PAGES.map(([page, title]) => (
            <Link
              key={page}
              to={pathTo(namespace, page === "overview" ? "" : page)}
              className="nav"
              current={props.route.page === page}
            >
              {title}
              {page === "stop" && stopped && <span className="nav-mark" role="img" aria-label="set" />}
            </Link>
          ))}
        </nav>
        <div className="side-foot">
          <LinkState />
          <div className="who">
            <span title={me.scopes.join(", ")}>{me.actor}</span>
            <button type="button" className="text-button" onClick={props.leave}>
              Sign out
            </button>
          </div>
        </div>
      </aside>
      <div className="content">
        <StoppedBanner />
        {props.children}
      </div>
    </div>
  );
}

function LinkState() {
  const { link, trouble } = useLiveHere();
  const words = { connecting: "Connecting…", live: "Live", lost: "Reconnecting…", refused: "Not allowed" };
  return (
    <div className={`link link-${link}`} role="status" title={trouble}>
      <span className="link-dot" aria-hidden="true" /> {words[link]}
    </div>
  );
}

function StoppedBanner() {
  const { namespace } = usePlace();
  const { overview } = useLiveHere();
  if (!overview || (!overview.kill.all && !overview.kill.tasks.length)) return null;
  return (
    <div className="banner" role="status">
      <strong>{overview.kill.all ? "Every task is stopped." : `Stopped: ${overview.kill.tasks.join(", ")}.`}</strong>{" "}
      Devices keep what they have and run none of it.{" "}
      <Link to={pathTo(namespace, "stop")}>Kill switch</Link>
    </div>
  );
}

export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M6 11c2.5-3 6.6-3 9.2 0l2.3-1.9v3.8L15.2 11c-2.6 3-6.7 3-9.2 0z" />
      <path d="M14.5 16.5c2.5-3 6.6-3 9.2 0l2.3-1.9v3.8l-2.3-1.9c-2.6 3-6.7 3-9.2 0z" opacity=".78" />
      <path d="M6 22c2.5-3 6.6-3 9.2 0l2.3-1.9v3.8L15.2 22c-2.6 3-6.7 3-9.2 0z" opacity=".56" />
    </svg>
  );
}
