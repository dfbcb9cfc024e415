// The coverage curve: how many devices were targeted, notified, installed, failed, over time.
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Curve, Release, ReleaseEvent } from "../api/types";
import { clock, count } from "../format";

const HEIGHT = 260;
const SERIES = ["targeted", "notified", "installed", "failed"] as const;
type Name = (typeof SERIES)[number];
const LABELS: Record<Name, string> = {
  targeted: "Targeted",
  notified: "Notified",
  installed: "Installed",
  failed: "Failed",
};

interface Row extends Record<Name, number> {
  at: number;
}

/** The curve with its ceiling: what the stage that was out at that time is for, by today's fleet. */
export function chartRows(release: Release, curve: Curve, events: ReleaseEvent[], nowMs: number): Row[] {
  const started = release.started_at_ms;
  if (started === null) return [];
  const lasts = release.state === "running" || release.state === "paused";
  const last = Math.max(started + 1, ...curve.points.map((p) => p.at_ms), ...events.map((e) => e.at_ms));
  // The clock of who looks may be behind the cloud's: what has happened is shown in any case.
  const end = lasts ? Math.max(nowMs, last) : last;
  const moments = [started, ...curve.points.map((p) => p.at_ms), ...events.map((e) => e.at_ms), end];
  const times = [...new Set(moments)].filter((at) => at >= started && at <= end).sort((a, b) => a - b);
  let point = -1;
  let event = -1;
  return times.map((at) => {
    while ((curve.points[point + 1]?.at_ms ?? Infinity) <= at) point += 1;
    while ((events[event + 1]?.at_ms ?? Infinity) <= at) event += 1;
    const stage = events[event]?.stage_index ?? 0;
    const { notified = 0, installed = 0, failed = 0 } = curve.points[point] ?? {};
    const targeted = curve.coverage.stages[Math.max(0, stage)]?.targeted ?? 0;
    return { at, targeted, notified, installed, failed };
  });
}

export function CoverageChart({ rows }: { rows: Row[] }) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const scheme = useScheme();
  const data = useMemo(() => columns(rows), [rows]);

  useEffect(() => {
    const element = holder.current;
    if (!element) return undefined;
    const made = new uPlot(options(element, setAt), data, element);
    plot.current = made;
    const resize = new ResizeObserver(() =>
      made.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
    // Data go in by setData below; colours are read once, so another scheme makes another plot.
  }, [scheme]);
  useEffect(() => plot.current?.setData(data), [data]);

  const shown = rows[at ?? rows.length - 1];
  return (
    <figure className="chart">
      <figcaption className="chart-key">
        {SERIES.map((name) => (
          <span key={name} className={`key key-${name}`}>
            {LABELS[name]} <b>{count(shown?.[name] ?? 0)}</b>
          </span>
        ))}
        <span className="key-time">{shown && (at === null ? "now" : clock(shown.at))}</span>
      </figcaption>
      <div ref={holder} className="chart-plot" role="img" aria-label={describe(rows)} />
    </figure>
  );
}

function columns(rows: Row[]): uPlot.AlignedData {
  // A line of failures that lies on the ground from end to end says nothing and looks like an alarm.
  const failing = rows.some((row) => row.failed > 0);
  const column = (name: Name) =>
    rows.map((row) => (name === "failed" && !failing ? null : row[name]));
  return [rows.map((row) => row.at / 1000), ...SERIES.map(column)];
}

function describe(rows: Row[]): string {
  const last = rows.at(-1);
  if (!last) return "Coverage over time: nothing yet";
  return `Coverage over time; now ${last.installed} of ${last.targeted} installed, ${last.notified} notified, ${last.failed} failed`;
}

function options(element: HTMLElement, pointed: (index: number | null) => void): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const font = `12px ${style.fontFamily}`;
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  const line = (name: Name, more: Partial<uPlot.Series>): uPlot.Series => ({
    label: LABELS[name],
    stroke: color(`--series-${name}`),
    width: 2,
    ...(stepped && { paths: stepped }),
    points: { show: false },
    ...more,
  });
  const axis = { font, stroke: color("--ink-3"), ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    padding: [12, 28, 0, 0],
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    hooks: { setCursor: [(u) => pointed(u.cursor.left === undefined || u.cursor.left < 0 ? null : (u.cursor.idx ?? null))] },
    scales: { y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.08)] } },
    axes: [
      {
        ...axis,
        size: 30,
        grid: { show: false },
        space: 90,
        values: (_u, splits) => splits.map((second) => clock(second * 1000)),
      },
      {
        ...axis,
        size: 44,
        grid: { stroke: color("--line"), width: 1 },
        values: (_u, splits) => splits.map((value) => (Number.isInteger(value) ? count(value) : "")),
      },
    ],
    series: [
      {},
      line("targeted", { width: 1.5, dash: [5, 5] }),
      line("notified", { width: 1.5, fill: color("--series-notified-fill") }),
      line("installed", { fill: color("--series-installed-fill") }),
      line("failed", {}),
    ],
  };
}

function useScheme(): string {
  const [scheme, setScheme] = useState(read);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const listen = () => setScheme(read());
    query.addEventListener("change", listen);
    return () => query.removeEventListener("change", listen);
  }, []);
  return scheme;
}

function read(): string {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
