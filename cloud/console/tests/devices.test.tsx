// Devices in a list and one by one: found, explained, and shown whatever they say of themselves.
import { act } from "react";
import { expect, test, vi } from "vitest";
import { failed } from "./cloud";
import { device, N, NOW, release } from "./fleet";
import { alert, click, fleet, follow, open, press, screen, settled, text, texts, type } from "./screen";

screen();
const FIELD = "input[type=search]";

async function searched(value: string): Promise<void> {
  vi.useFakeTimers();
  await type(FIELD, value);
  await act(async () => void (await vi.advanceTimersByTimeAsync(300)));
  vi.useRealTimers();
  await settled();
}

test("a search asks once the typing rests, in the form that ids have", async () => {
  fleet.devices = [device(0xa1), device(0xb2)];
  await open("demo/app/devices");
  expect(document.querySelectorAll("tbody tr").length).toBe(2);
  await searched(`  ${device(0xa1).id.slice(0, 31).toUpperCase()} `);
  expect(fleet.asked(`${N}/devices`).at(-1)?.path).toContain(`id_prefix=${device(0xa1).id.slice(0, 31)}`);
  await searched(device(0xa1).id);
  expect(texts("tbody .id")).toEqual([device(0xa1).id.slice(0, 12)]);
  await searched("zz");
  expect(text(".empty")).toContain("No device is like that");
});

test("Enter opens the device whose whole id was typed, and nothing else", async () => {
  fleet.devices = [device(5)];
  await open("demo/app/devices");
  const submit = () => act(async () => void document.querySelector("form")?.requestSubmit());
  await type(FIELD, device(5).id.slice(0, 31));
  await submit();
  expect(location.pathname).toBe("/console/demo/app/devices");
  await type(FIELD, device(5).id);
  await press(FIELD, "Enter");
  await submit();
  await settled();
  expect(location.pathname).toBe(`/console/demo/app/devices/${device(5).id}`);
  expect(text("h1")).toContain("Device 000000000000");
});

test("a status is chosen by a button that says whether it is", async () => {
  fleet.devices = [device(1), device(2, { status: "revoked" })];
  await open("demo/app/devices");
  await click("revoked");
  const pressed = [...document.querySelectorAll(".segments button")].map((one) => one.getAttribute("aria-pressed"));
  expect(pressed).toEqual(["false", "false", "false", "false", "true"]);
  expect(texts("tbody .pill")).toEqual(["Revoked"]);
  await click("all");
  expect(document.querySelectorAll("tbody tr").length).toBe(2);
});

test("a list of many pages keeps its place, and a failure of one says so", async () => {
  fleet.pageSize = 50;
  fleet.devices = Array.from({ length: 120 }, (_, number) => device(number));
  await open("demo/app/devices");
  await click("Next");
  await click("Next");
  expect(document.querySelectorAll("tbody tr").length).toBe(20);
  fleet.broken.set(`${N}/devices`, () => "away");
  await click("Previous");
  expect(alert()).toContain("The cloud does not answer.");
  fleet.broken.clear();
  await click("Try again");
  expect(document.querySelectorAll("tbody tr").length).toBe(50);
  expect(text(".pager")).toContain("Page 2");
});

test("what a device says of itself overrides what was said at its enrolment", async () => {
  fleet.devices = [device(1, { attributes: { model: "old", shop: "7" }, facts: { attributes: { model: "new" } } })];
  await open("demo/app/devices");
  expect(texts(".attribute")).toEqual(["modelnew", "shop7"]);
});

test("a click stays on the page, and a click for a new tab does not", async () => {
  fleet.devices = [device(1)];
  await open("demo/app/devices");
  for (const more of [{ ctrlKey: true }, { metaKey: true }, { shiftKey: true }, { button: 1 }]) {
    const away = await follow("tbody a", more);
    expect(away.defaultPrevented).toBe(false);
  }
  history.replaceState(null, "", "/console/demo/app/devices"); // the browser has followed them
  expect((await follow("tbody a")).defaultPrevented).toBe(true);
  expect(location.pathname).toBe(`/console/demo/app/devices/${device(1).id}`);
  await act(async () => {
    history.replaceState(null, "", "/console/demo/app/devices");
    dispatchEvent(new PopStateEvent("popstate"));
  });
  await settled();
  expect(text("h1")).toBe("Devices");
});

// --- one device -------------------------------------------------------------------------------------------------

const ONE = `demo/app/devices/${device(1).id}`;

test("a device that has not synced says so, and one that says much is shown whole", async () => {
  fleet.devices = [device(1, { last_seen_at_ms: null })];
  await open(ONE);
  expect(text()).toContain("It has not synced yet");
  expect(text()).toContain("It holds no task, and none is being released");
  expect(text()).toContain("Nothing out of the ordinary");
  expect(texts(".facts dd")[1]).toBe("never");
});

test("facts by their names, without those that are empty", async () => {
  const facts = { os: "linux", os_version: "6.1", app_version: "", op_set: 2, cpu_features: ["avx2", "vnni"], attributes: { ["k".repeat(64)]: "v".repeat(256) } };
  fleet.devices = [device(1, { facts, revoked_at_ms: NOW, status: "revoked" })];
  await open(ONE);
  const names = texts(".facts dt");
  expect(names).toContain("System version");
  expect(names).not.toContain("App");
  expect(names).toContain("Revoked");
  expect(text()).toContain("avx2, vnni");
  expect(document.querySelector(".attribute")?.getAttribute("title")).toBe(`${"k".repeat(64)} ${"v".repeat(256)}`);
});

test("each task that it holds or that is being released is explained", async () => {
  fleet.devices = [device(1, { installed: { kept: { version: 2, digest: "", state: "quarantined" } } })];
  fleet.overview.releases = [release({ task: "coming" })];
  fleet.why = {
    decision: "install version 3",
    releases: [
      { release_id: "r00000001", state: "running", included: true, decides: true, reason: "bucket 17 is in stage 1" },
      { release_id: "r00000002", state: "superseded", included: false, decides: false, reason: "a newer one decides" },
    ],
  };
  await open(ONE);
  expect(texts(".card-head h2").slice(2, 4)).toEqual(["coming", "kept"]);
  expect(texts(".card-aside")).toEqual(["does not hold it", "holds version 2 quarantined"]);
  expect(texts(".why")[0]).toBe("At its next sync it would be told: install version 3");
  expect(texts("li.decides .notice-text")).toEqual(["bucket 17 is in stage 1", "bucket 17 is in stage 1"]);
});

test("a part that fails says so by itself", async () => {
  fleet.devices = [device(1, { installed: { digits: { version: 1, digest: "", state: "installed" } } })];
  fleet.broken.set(`${N}/devices/${device(1).id}/why`, () => failed(404, "TASK_UNKNOWN", "no such task"));
  fleet.broken.set(`${N}/notices`, () => failed(403, "SCOPE_MISSING", "needs device:read"));
  await open(ONE);
  expect(texts("[role=alert] strong")).toEqual(["no such task", "needs device:read"]);
  fleet.broken.clear();
  await click("Try again");
  await click("Try again");
  expect(alert()).toBe("");
});

test("a device that is not there says so", async () => {
  await open("demo/app/devices/nobody");
  expect(text("h1")).toBe("Device");
  expect(alert()).toContain("no devices nobody");
});

test("a name from the address asks for nothing else", async () => {
  const name = "../../../me?x=1#y";
  await open(`demo/app/devices/${encodeURIComponent(name)}`);
  expect(fleet.asked(`${N}/devices/${encodeURIComponent(name)}`).length).toBeGreaterThan(0);
  expect(fleet.asked("/me").length).toBe(1);
  expect(alert()).toContain(`no devices ${name}`);
});
