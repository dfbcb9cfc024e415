// The coverage curve as rows: in order, within the release's life, and never ahead of what was reported.
import { expect, test } from "vitest";
import type { Curve, Release, ReleaseEvent } from "../src/api/types";
import { chartRows } from "../src/ui/coverage-chart";
import { counts, event, release } from "./fleet";

const START = 1_000_000;

function curve(...points: [number, number, number][]): Curve {
  return {
    release_id: "r",
    coverage: { ...counts(100, 0), stages: [counts(10, 0), counts(100, 0)] },
    points: points.map(([at, notified, installed]) => ({ at_ms: START + at, notified, installed, failed: 0 })),
    installed_p50_ms: null,
    installed_p99_ms: null,
  };
}

function at(more: Partial<Release> = {}): Release {
  return release({ started_at_ms: START, ...more });
}

function step(time: number, stage_index: number, more: Partial<ReleaseEvent> = {}): ReleaseEvent {
  return event(1, { at_ms: START + time, stage_index, ...more });
}

test("a release that was not started has no curve", () => {
  expect(chartRows(at({ started_at_ms: null }), curve([0, 1, 1]), [], START)).toEqual([]);
});

test("values hold until the next report, and the ceiling is that of the stage that was out", () => {
  const rows = chartRows(at(), curve([10, 5, 0], [30, 9, 4]), [step(0, 0), step(20, 1)], START + 40);
  expect(rows.map((row) => [row.at - START, row.targeted, row.notified, row.installed])).toEqual([
    [0, 10, 0, 0],
    [10, 10, 5, 0],
    [20, 100, 5, 0],
    [30, 100, 9, 4],
    [40, 100, 9, 4],
  ]);
});

test("a clock that is behind the cloud's hides nothing", () => {
  const rows = chartRows(at(), curve([10, 5, 2]), [step(0, 0)], START - 3_600_000);
  expect(rows.map((row) => row.at - START)).toEqual([0, 1, 10].filter((time) => time !== 1));
  expect(rows.at(-1)?.installed).toBe(2);
  expect(chartRows(at(), curve(), [], 0).map((row) => row.at - START)).toEqual([0, 1]);
});

test("a release that has ended does not go on with the clock", () => {
  const rows = chartRows(at({ state: "completed" }), curve([10, 5, 5]), [step(0, 0), step(50, 1)], START + 9_999);
  expect(rows.at(-1)?.at).toBe(START + 50);
});

test("what is from before the start is left out", () => {
  const rows = chartRows(at(), curve([10, 1, 0]), [step(-500, -1), step(0, 0)], START + 20);
  expect(rows[0]?.at).toBe(START);
  expect(rows[0]?.targeted).toBe(10);
});

test("a stage that is not there (any more) aims at nobody instead of breaking the page", () => {
  const rows = chartRows(at(), curve([10, 1, 0]), [step(0, 9)], START + 20);
  expect(rows.map((row) => row.targeted)).toEqual(rows.map(() => 0));
});

test("rows are in order of time, each once, for any order of steps and reports", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  for (let round = 0; round < 300; round++) {
    const times = Array.from({ length: random(9) }, () => random(40)).sort((a, b) => a - b);
    const steps = Array.from({ length: random(5) }, () => random(40)).sort((a, b) => a - b);
    const points = times.map((time, place): [number, number, number] => [time, place + 1, place]);
    const now = START + random(60) - 10;
    const rows = chartRows(at(), curve(...points), steps.map((time, place) => step(time, Math.min(place, 1))), now);
    expect(rows.map((row) => row.at)).toEqual([...new Set(rows.map((row) => row.at))].sort((a, b) => a - b));
    for (const row of rows) {
      // A slow look: the last report that was there by then.
      const known = points.filter(([time]) => START + time <= row.at).length;
      expect([row.notified, row.installed]).toEqual(known ? [known, known - 1] : [0, 0]);
    }
    expect(rows.at(-1)?.at).toBeGreaterThanOrEqual(Math.max(now, START));
  }
});
