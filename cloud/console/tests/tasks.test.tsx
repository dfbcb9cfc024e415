// Tasks, their versions and files, and the switch that stops them.
import { expect, test } from "vitest";
import { failed } from "./cloud";
import { N, NOW, release, version } from "./fleet";
import { alert, button, click, fleet, open, press, screen, settled, text, texts, type } from "./screen";

screen();

function task(name: string, more: object = {}) {
  return { name, latest_version: 2, digest: "sha256:abcdef0123456789", created_at_ms: NOW, created_by: "ann", published_at_ms: NOW, published_by: "ann", ...more };
}

function detail(number: number, more: object = {}) {
  const file = (path: string, kind: string, size: number, python_tag = "") => ({ kind, path, python_tag, digest: "sha256:00", size, scope: "shared" });
  const files = [file("manifest.json", "manifest", 512), file("code.bin", "bytecode", 1_048_575, "cpython-313-3571"), file("model.bin", "resource", 5 * 2 ** 30)];
  return { ...version(number), manifest: {}, files, ...more };
}

test("tasks with where they run; one that was never published has no version", async () => {
  fleet.tasks = [task("digits"), task("prepared", { latest_version: 0, digest: "", published_at_ms: null, published_by: "" })];
  fleet.overview.versions = [
    { task: "digits", version: 1, devices: 1_000 },
    { task: "digits", version: 2, devices: 234 },
  ];
  await open("demo/app/tasks");
  const rows = [...document.querySelectorAll("tbody tr")].map((row) => [...row.children].map((cell) => cell.textContent?.trim()));
  expect(rows[0]?.slice(0, 3)).toEqual(["digits", "2", "1,234"]);
  expect(rows[1]).toEqual(["prepared", "–", "0", "–", "never"]);
});

test("a new version may have come when the epoch rises", async () => {
  fleet.tasks = [task("digits")];
  await open("demo/app/tasks");
  fleet.tasks.push(task("fresh"));
  fleet.overview.epoch += 1;
  fleet.stream.event("overview", fleet.overview);
  await settled();
  expect(texts("tbody b")).toEqual(["digits", "fresh"]);
});

test("versions newest first; the newest is open, another opens by its name", async () => {
  fleet.tasks = [task("digits")];
  fleet.versions = [detail(1), detail(3, { state: "prepared", source_commit: "0123456789abcdef+dirty" }), detail(2)];
  await open("demo/app/tasks/digits");
  expect(texts("tbody .text-button")).toEqual(["Version 3", "Version 2", "Version 1"]);
  expect(text()).toContain("Files of version 3");
  expect(button("Version 3").getAttribute("aria-pressed")).toBe("true");
  await click("Version 1");
  expect(text()).toContain("Files of version 1");
  expect(text("tr.chosen")).toContain("Version 1");
  const sizes = texts("td.number").slice(3);
  expect(sizes).toEqual(["512 B", "1 MiB", "5 GiB"]);
});

test("releases of the task that the stream knows, newest first", async () => {
  fleet.tasks = [task("digits")];
  fleet.versions = [detail(1)];
  fleet.releases = [release({ id: "r1" }), release({ id: "r2", version: 4 }), release({ id: "r3", task: "other" })];
  await open("demo/app/tasks/digits");
  expect(texts(".line-name")).toEqual(["version 4", "version 3"]);
});

test("no task, no version, no files: each says so", async () => {
  await open("demo/app/tasks/nothing");
  expect(alert()).toContain("no task nothing");
  fleet.tasks = [task("nothing")];
  await click("Try again");
  expect(text(".empty")).toBe("No version yet");
  fleet.versions = [detail(1, { task: "nothing" })];
  fleet.broken.set(`${N}/tasks/nothing/versions/1`, () => "away");
  fleet.overview.epoch += 1;
  fleet.stream.event("overview", fleet.overview);
  await settled();
  expect(alert()).toContain("The cloud does not answer.");
});

// --- releases ---------------------------------------------------------------------------------------------------

test("a release that is made while somebody looks appears by itself, at the top", async () => {
  fleet.releases = [release({ id: "r1", version: 1 })];
  await open("demo/app/releases");
  expect(texts("tbody a")).toEqual(["digits version 1"]);
  expect(document.querySelector(".more")).toBeNull();
  fleet.stream.event("release", release({ id: "r2", version: 2, state: "draft" }));
  await settled();
  expect(texts("tbody a")).toEqual(["digits version 2", "digits version 1"]);
  expect(texts("tbody .pill")).toEqual(["Draft", "Running"]);
});

test("a page of older releases that does not come says so and is asked for again", async () => {
  fleet.pageSize = 2;
  fleet.releases = [5, 4, 3, 2, 1].map((number) => release({ id: `r${number}`, version: number, targeting: { attributes: { model: "m" } } }));
  await open("demo/app/releases", { live: false });
  fleet.broken.set(`${N}/releases`, () => failed(503, "DATABASE_BUSY", "too busy"));
  await click("Older releases");
  expect(alert()).toContain("too busy");
  expect(document.querySelectorAll("tbody tr").length).toBe(2);
  fleet.broken.clear();
  await click("Try again");
  expect(document.querySelectorAll("tbody tr").length).toBe(4);
  await click("Older releases");
  expect(texts("tbody a").map((one) => one.slice(-1))).toEqual(["5", "4", "3", "2", "1"]);
  expect(document.querySelector(".more")).toBeNull();
  expect(texts("tbody tr")[0]).toContain("10 % of modelm");
});

// --- the kill switch --------------------------------------------------------------------------------------------

const field = "dialog textarea";

test("stopping needs a reason, letting run does not", async () => {
  fleet.tasks = [task("digits")];
  fleet.overview.versions = [{ task: "digits", version: 1, devices: 3 }];
  await open("demo/app/stop");
  expect(texts(".switches strong")).toEqual(["Every task of the namespace", "digits"]);
  await click("Stop");
  expect(text("dialog")).toContain("Affects 3 devices, at their next sync.");
  await press(field, "Enter");
  await settled();
  expect(fleet.kills).toEqual([]);
  await type(field, "it drains batteries");
  await press(field, "Enter");
  await settled();
  expect(fleet.kills.map((row) => [row.task, row.reason])).toEqual([["digits", "it drains batteries"]]);
  expect(text(".switch-set")).toContain("Stopped by owner");
  expect(text(".switch-set")).toContain("“it drains batteries”");
  await click("Let it run");
  await press(field, "Enter");
  await settled();
  expect(fleet.kills).toEqual([]);
});

test("everything at once affects who is not revoked", async () => {
  fleet.overview.devices = { total: 10, online: 5, stale: 0, offline: 3, revoked: 2 };
  await open("demo/app/stop");
  expect(text()).toContain("The namespace has no task yet");
  await click("Stop");
  expect(text("dialog")).toContain("Stop every task?");
  expect(text("dialog")).toContain("Affects 8 devices");
});

test("what is stopped is shown, also when it is in no list of tasks", async () => {
  fleet.kills = [{ task: "ghost", set_at_ms: NOW, set_by: "ann", reason: "" }];
  fleet.broken.set(`${N}/tasks`, () => failed(403, "SCOPE_MISSING", "needs task:read"));
  await open("demo/app/stop");
  expect(texts(".switches strong")).toEqual(["Every task of the namespace", "ghost"]);
  expect(alert()).toContain("needs task:read");
  fleet.broken.clear();
  fleet.tasks = [task("digits")];
  await click("Try again");
  expect(alert()).toBe("");
  expect(texts(".switches strong")).toEqual(["Every task of the namespace", "digits", "ghost"]);
});

test("who may not stop sees what is stopped and no button", async () => {
  fleet.me = { ...fleet.me, scopes: ["release:read", "task:read", "device:read"] };
  fleet.kills = [{ task: "", set_at_ms: NOW, set_by: "ann", reason: "fire" }];
  await open("demo/app/stop");
  expect(text(".switch-set")).toContain("fire");
  expect(document.querySelectorAll(".switches button").length).toBe(0);
});

test("a switch that is refused says why and stays as it is", async () => {
  fleet.tasks = [task("digits")];
  fleet.broken.set(`POST ${N}/kill-switches`, () => failed(409, "CONFLICT", "somebody was faster"));
  await open("demo/app/stop");
  await click("Stop");
  await type(field, "x");
  await press(field, "Enter");
  await settled();
  expect(text("dialog [role=alert]")).toContain("somebody was faster");
  await click("Cancel");
  expect(texts(".switches .quiet")).toEqual(["may run", "may run"]);
});
