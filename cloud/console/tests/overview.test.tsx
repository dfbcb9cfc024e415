// The fleet on one page: what it counts, what it says when there is little, much, or no news for a while.
import { expect, test } from "vitest";
import { failed } from "./cloud";
import { counts, device, N, NOW, release } from "./fleet";
import { alert, fleet, open, screen, settled, text, texts } from "./screen";

screen();
const PAGE = "demo/app";
const LONG = "a-very-long-task-name-that-goes-on-and-on-to-the-63-characters-x";

function notice(id: number, more: object = {}) {
  return { id, device_id: device(id).id, at_ms: NOW, code: "CLOCK_MENDED", message: `notice ${id}`, ...more };
}

test("before the first word of the stream it waits", async () => {
  await open(PAGE, { live: false });
  expect(document.querySelectorAll("main [role=status][aria-label=Loading]").length).toBe(1);
  expect(text(".link")).toContain("Live");
});

test("devices by status, revoked ones only when there are some", async () => {
  fleet.overview.devices = { total: 1_234_567, online: 1_200_000, stale: 30_000, offline: 4_567, revoked: 0 };
  await open(PAGE);
  expect(text(".figure")).toBe("1,200,000 of 1,234,567 online");
  expect(texts(".grid:first-of-type .legend:first-of-type li").map((one) => one.trim())).toEqual([
    "online 1,200,000",
    "stale 30,000",
    "offline 4,567",
  ]);
  fleet.overview.devices.revoked = 2;
  fleet.stream.event("overview", fleet.overview);
  await settled();
  expect(text(".legend")).toContain("revoked 2");
});

test("versions of a task newest first, any number of them in five shades", async () => {
  fleet.overview.versions = Array.from({ length: 12 }, (_, number) => ({ task: LONG, version: number + 1, devices: 1_000 * (number + 1) }));
  fleet.overview.versions.push({ task: "other", version: 1, devices: 1 });
  await open(PAGE);
  expect(texts(".spread-name")).toEqual([LONG, "other"]);
  const shades = [...document.querySelectorAll(".spread .bar span")].map((one) => one.className);
  expect([...new Set(shades)]).toEqual(["rank-0", "rank-1", "rank-2", "rank-3", "rank-4"]);
  expect(texts(".spread .legend li")[0]).toContain("version 12 12,000");
  expect(document.querySelector(".spread-name")?.getAttribute("href")).toBe(`/console/demo/app/tasks/${LONG}`);
});

test("runs are summed over outcomes, ended well rounded down, and never divided by nothing", async () => {
  const run = (task: string, version: number, outcome: string, runs: number, wall_us: number) => ({ task, version, outcome, runs, wall_us });
  fleet.overview.runs = [
    run("b", 1, "ok", 999_999, 2_000_000_000),
    run("b", 1, "TASK_ERROR", 1, 0),
    run("a", 1, "WALL_LIMIT", 5, 5_000_000),
    run("a", 2, "ok", 0, 0),
  ];
  await open(PAGE);
  const rows = [...document.querySelectorAll("tbody tr")].map((row) => [...row.children].map((cell) => cell.textContent));
  expect(rows).toEqual([
    ["a version 2", "0", "–", "0.00 ms"],
    ["a version 1", "5", "0 %", "1000.00 ms"],
    ["b version 1", "1,000,000", "99.9 %", "2.00 ms"],
  ]);
});

test("releases that are on their way, with how far they are", async () => {
  const none = { ...counts(0, 0), stages: [] };
  fleet.overview.releases = [release(), release({ id: "r2", state: "paused", coverage: none, started_at_ms: null })];
  await open(PAGE);
  expect(texts(".line .pill")).toEqual(["Running", "Paused"]);
  expect(texts(".progress-text")).toEqual(["4 / 10 · 40 %", "0 / 0 · –"]);
  const meter = document.querySelector(".meter");
  expect(meter?.getAttribute("aria-label")).toBe("4 of 10 installed, 1 failed");
  expect([...(meter?.children ?? [])].map((one) => (one as HTMLElement).style.width)).toEqual(["40%", "10%", "0%"]);
  expect(text(".lines")).toContain("not started");
});

test("the newest notices, each once; a clock that is in no calendar breaks no page", async () => {
  fleet.notices = Array.from({ length: 12 }, (_, number) => notice(number + 1));
  fleet.notices.push(notice(13, { at_ms: 2 ** 62, message: "x".repeat(512) }), notice(14, { at_ms: -(2 ** 62) }));
  await open(PAGE);
  expect(texts(".notice-text").length).toBe(8);
  expect(texts(".notice-text").slice(0, 3)).toEqual(["notice 14", "x".repeat(512), "notice 12"]);
  expect(texts(".notices .quiet").slice(0, 2)).toEqual(["no date", "no date"]);
  expect(text("h1")).toBe("Fleet");
});

test("a banner and a mark say on every page that something is stopped", async () => {
  fleet.overview.kill = { all: false, tasks: ["digits", LONG] };
  await open("demo/app/devices");
  expect(text(".banner")).toContain(`Stopped: digits, ${LONG}.`);
  expect(document.querySelector(".nav-mark")?.getAttribute("aria-label")).toBe("set");
  fleet.overview.kill = { all: true, tasks: [] };
  fleet.stream.event("overview", fleet.overview);
  await settled();
  expect(text(".banner")).toContain("Every task is stopped.");
  fleet.overview.kill = { all: false, tasks: [] };
  fleet.stream.event("overview", fleet.overview);
  await settled();
  expect(document.querySelector(".banner")).toBeNull();
  expect(document.querySelector(".nav-mark")).toBeNull();
});

test("a stream that went away leaves what was seen, and says that it is not live", async () => {
  fleet.overview.devices.total = 77;
  await open(PAGE);
  fleet.stream.event("error", { code: "DATABASE_BUSY", message: "the database is away" });
  fleet.stream.end();
  await settled();
  expect(text(".figure")).toContain("of 77 online");
  expect(text(".link")).toContain("Reconnecting…");
  expect(document.querySelector(".link")?.getAttribute("title")).toBe("the database is away");
});

test("a stream that never came says so, in the words of the cloud", async () => {
  fleet.cloud.on(`${N}/events`, () => failed(503, "NOT_READY", "too many event streams are open"));
  await open(PAGE, { live: false });
  expect(text(".empty")).toBe("The cloud does not answer.too many event streams are open");
});

test("a word that is no JSON ends the stream and not the page", async () => {
  await open(PAGE);
  fleet.stream.send("event: release\ndata: {no json\n\n");
  await settled();
  expect(text("h1")).toBe("Fleet");
  expect(text(".link")).toContain("Reconnecting…");
  expect(alert()).toBe("");
});

test("a token that is refused in the middle leads to the sign-in", async () => {
  fleet.cloud.on(`${N}/events`, () => failed(401, "UNAUTHENTICATED", "revoked"));
  await open(PAGE, { live: false });
  expect(alert()).toContain("The cloud refused the token");
  expect(sessionStorage.getItem("shoal.token")).toBeNull();
});
