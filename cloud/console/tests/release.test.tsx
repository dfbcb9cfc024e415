// One release: what it shows of itself in every state, and what an operator can do to it, by mouse and by keyboard.
import { act } from "react";
import { expect, test, vi } from "vitest";
import type { Command, ReleaseState } from "../src/api/types";
import { failed, json } from "./cloud";
import { counts, event, N, NOW, release, version } from "./fleet";
import { alert, button, click, fleet, open, press, screen, settled, text, texts, type } from "./screen";

screen();
const ID = release().id;
const PAGE = `demo/app/releases/${ID}`;
const COMMAND = `${N}/releases/${ID}:command`;
const buttons = () => texts("[data-command]");
const field = "dialog textarea";

test("an address that names no release says so and tries again", async () => {
  await open("demo/app/releases/r9");
  expect(alert()).toContain("no releases r9");
  fleet.releases = [release({ id: "r9" })];
  await click("Try again");
  expect(text("h1")).toBe("digits version 3 Running");
});

test("it shows where it stands", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  expect(texts(".rail-share")).toEqual(["10 %", "100 %"]);
  expect(texts(".rail-line").slice(0, 2)).toEqual(["4 of 10 installed", "goes on at 95 %, now 40 %"]);
  expect(texts(".rail-line").slice(2)).toEqual(["100 devices", "completes when you promote"]);
  expect(document.querySelector("[aria-current=step]")?.textContent).toContain("10 %");
  expect(text(".card-aside")).toBe("installed after 1.5 s (median), 1 min 1 s (99th percentile)");
  expect(document.querySelector(".chart-plot")?.getAttribute("aria-label")).toContain("of 10 installed");
  expect(text()).toContain("every device");
  expect(text()).toContain("version 2");
  expect(text()).toContain("abc");
});

test.each<[ReleaseState, Command[], string]>([
  ["draft", ["start", "abort"], "Draft"],
  ["running", ["pause", "promote", "roll_back", "abort"], "Running"],
  ["paused", ["resume", "roll_back", "abort"], "Paused"],
  ["completed", ["roll_back"], "Completed"],
  ["aborted", ["roll_back"], "Aborted"],
  ["rolled_back", [], "Rolled back"],
  ["superseded", [], "Superseded"],
])("a %s release takes %s", async (state, commands, word) => {
  fleet.releases = [release({ state, started_at_ms: state === "draft" ? null : NOW })];
  await open(PAGE);
  expect(text("h1 .pill")).toBe(word);
  const found = [...document.querySelectorAll("[data-command]")].map((one) => one.getAttribute("data-command"));
  expect(found).toEqual(commands);
  expect(text().includes("Not started")).toBe(state === "draft");
});

test("who may only read sees no command", async () => {
  fleet.me = { ...fleet.me, scopes: ["release:read", "device:read"] };
  fleet.releases = [release()];
  await open(PAGE);
  expect(text("h1")).toContain("Running");
  expect(buttons()).toEqual([]);
});

test.each<[string, string, Partial<ReturnType<typeof release>>]>([
  ["Pause", "Affects 6 devices that do not have it yet and will wait. 4 devices keep it.", {}],
  ["Promote", "Affects 90 devices that join with stage 2, 100 % of those that match.", {}],
  ["Promote", "Affects no more devices: this was the last stage", { stage_index: 1 }],
  ["Roll back", "Affects 4 devices that hold version 3: they return to version 2.", {}],
  ["Roll back", "the task is removed from them", { rollback_version: 0 }],
  ["Abort", "Affects 6 devices that will not get it any more. 4 devices keep it.", {}],
  ["Abort", "Affects no devices: it was never started.", { state: "draft" }],
  ["Start", "Affects 10 devices: stage 1 offers it to 10 % of those that match.", { state: "draft" }],
  ["Resume", "Affects 6 devices of this stage", { state: "paused" }],
  ["Pause", "Affects 1 device that", { coverage: { ...counts(1, 0), stages: [counts(1, 0)] } }],
])("%s says what it would do: %s", async (name, says, more) => {
  fleet.releases = [release(more)];
  await open(PAGE);
  await click(name);
  expect(text("dialog").replace(/\s+/g, " ")).toContain(says.replace("1 device that", "1 device that do"));
});

test("a command is sent with the revision that was seen, and its answer is shown without the stream", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  await click("Pause");
  expect(document.activeElement).toBe(document.querySelector(field));
  await type(field, "  look at the failures  ");
  await click("Pause");
  const [asked] = fleet.asked(COMMAND);
  expect([asked?.headers["If-Match"], asked?.body]).toEqual(['"2"', { command: "pause", reason: "look at the failures" }]);
  expect(document.querySelector("dialog")).toBeNull();
  expect(text("h1 .pill")).toBe("Paused");
  expect(buttons()).toEqual(["Resume", "Roll back", "Abort"]);
});

test("Enter sends once, however often it is pressed; Shift and an input method's Enter do not send", async () => {
  let answer: (response: Response) => void = () => undefined;
  fleet.releases = [release()];
  await open(PAGE);
  fleet.broken.set(COMMAND, () => new Promise<Response>((done) => (answer = done)));
  await click("Pause");
  await press(field, "Enter", { shiftKey: true });
  await press(field, "Enter", { isComposing: true });
  expect(fleet.asked(COMMAND).length).toBe(0);
  for (let times = 0; times < 3; times++) await press(field, "Enter");
  expect(fleet.asked(COMMAND).length).toBe(1);
  expect(button("Pause").disabled).toBe(true);
  await act(async () => answer(json(release({ state: "paused", revision: 3 }))));
  await settled();
  expect(text("h1 .pill")).toBe("Paused");
});

test("a command that is refused says why, stays open, and can be sent again", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  fleet.broken.set(COMMAND, () => failed(412, "REVISION_MOVED", "somebody was faster"));
  await click("Promote");
  await press(field, "Enter");
  await settled();
  expect(text("dialog [role=alert]")).toContain("somebody was faster");
  expect(text("h1 .pill")).toBe("Running");
  fleet.broken.clear();
  await press(field, "Enter");
  await settled();
  expect(fleet.asked(COMMAND).length).toBe(2);
  expect(document.querySelector("dialog")).toBeNull();
});

test("Cancel sends nothing, and the next command begins without its reason", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  await click("Abort");
  await type(field, "no");
  await click("Cancel");
  expect(document.querySelector("dialog")).toBeNull();
  expect(fleet.asked(COMMAND)).toEqual([]);
  await click("Abort");
  expect(document.querySelector<HTMLTextAreaElement>(field)?.value).toBe("");
});

test("a rollback goes to a published version, or removes the task", async () => {
  fleet.tasks = [{ name: "digits", latest_version: 4, digest: "", created_at_ms: 0, created_by: "", published_at_ms: 0, published_by: "" }];
  const of = (number: number, state = "published") => ({ ...version(number, { state }), manifest: {}, files: [] });
  fleet.versions = [of(4, "prepared"), of(3), of(2), of(1)];
  fleet.releases = [release({ rollback_version: 7 })];
  await open(PAGE);
  await click("Roll back");
  expect(texts("dialog option")).toEqual(["Version 2", "Version 1", "Version 7", "None: remove the task"]);
  const select = document.querySelector<HTMLSelectElement>("dialog select") ?? expect.fail("nothing to choose");
  expect(select.value).toBe("7");
  await act(async () => {
    select.value = "0";
    select.dispatchEvent(new Event("change", { bubbles: true }));
  });
  expect(text("dialog")).toContain("the task is removed from them");
  await press(field, "Enter");
  await settled();
  expect(fleet.asked(COMMAND)[0]?.body).toEqual({ command: "roll_back", reason: "", rollback_version: 0 });
});

test("the timeline has all events, newest first, over as many pages as there are", async () => {
  fleet.releases = [release()];
  fleet.pageSize = 3;
  const types = [
    { type: "created" },
    { type: "command", command: "start" as const },
    { type: "promoted" },
    { type: "command", command: "roll_back" as const, reason: "it is slow" },
    { type: "superseded", by: "r2" },
    { type: "restored" },
    { type: "command" },
  ];
  fleet.events = types.map((one, place) => event(place + 1, { event: one }));
  fleet.events.push(event(8, { event: { type: "counted" }, state: "completed" }));
  await open(PAGE);
  expect(texts(".timeline-head strong")).toEqual([
    "Completed by itself",
    "Command",
    "Restored",
    "Superseded",
    "Rolled back",
    "Promoted by itself",
    "Started",
    "Created",
  ]);
  expect(texts(".timeline blockquote")).toEqual(["it is slow"]);
  expect(fleet.asked(`${N}/releases/${ID}/events`).length).toBe(3);
});

test("failures are grouped by their code, with devices to look at", async () => {
  fleet.releases = [release()];
  const row = (number: number, outcome: string, error_code: string) => ({
    device_id: number.toString(16).padStart(32, "0"),
    outcome,
    error_code,
    notified_at_ms: NOW,
    installed_at_ms: null,
    updated_at_ms: NOW,
  });
  fleet.outcomes = [row(1, "failed", "FILE_DAMAGED"), row(2, "failed", "FILE_DAMAGED"), row(3, "failed", "FILE_DAMAGED")];
  fleet.outcomes.push(row(4, "failed", ""), row(5, "installed", ""));
  await open(PAGE);
  expect(texts(".notice-code.bad")).toEqual(["FILE_DAMAGED", "UNKNOWN"]);
  expect(texts(".notices .notice-text")).toEqual(["3 devices, for example", "1 device, for example"]);
  expect(document.querySelectorAll(".notices a").length).toBe(3);
  expect(text()).not.toContain("among the first");
});

test("failures of a part of the fleet say of how many devices they are", async () => {
  fleet.releases = [release()];
  fleet.pageSize = 2;
  fleet.outcomes = Array.from({ length: 5 }, (_, number) => ({
    device_id: number.toString(16).padStart(32, "0"),
    outcome: "failed",
    error_code: "DISK_QUOTA",
    notified_at_ms: NOW,
    installed_at_ms: null,
    updated_at_ms: NOW,
  }));
  await open(PAGE);
  expect(text()).toContain("among the first 2 devices");
  expect(text()).toContain("2 devices, for example");
});

test("each part that fails says so by itself, and the rest stays", async () => {
  fleet.releases = [release()];
  fleet.broken.set(`${N}/releases/${ID}/coverage`, () => failed(503, "NOT_READY", "no curve now"));
  fleet.broken.set(`${N}/releases/${ID}/events`, () => "away");
  await open(PAGE);
  expect(texts("[role=alert] strong")).toEqual(["no curve now", "The cloud does not answer."]);
  expect(text("h1")).toContain("Running");
  expect(buttons().length).toBe(4);
});

test("what the stream says moves the page", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  const done = { ...counts(100, 60), stages: [counts(10, 10), counts(100, 60)] };
  fleet.stream.event("release", release({ revision: 3, stage_index: 1, coverage: done }));
  await settled();
  expect(texts(".rail-dot")).toEqual(["✓", "2"]);
  expect(texts(".rail-line")[2]).toBe("60 of 100 installed");
});

test("a small canary is not nothing, and a goal below all is not all", async () => {
  const stages = [
    { share_ppm: 100, promote_at_ppm: 999_999 },
    { share_ppm: 1_000_000, promote_at_ppm: 0 },
  ];
  fleet.releases = [release({ stages, coverage: { ...counts(1, 0), stages: [counts(1, 0), counts(1, 0)] } })];
  await open(PAGE);
  expect(texts(".rail-share")).toEqual(["0.01 %", "100 %"]);
  expect(text(".rail")).toContain("goes on at 99.9999 %");
  expect(texts(".rail-line")[2]).toBe("1 device");
});

test("a release that changes all the time is looked at again all the same", async () => {
  fleet.releases = [release()];
  await open(PAGE);
  await act(async () => new Promise((done) => setTimeout(done, 450))); // what the opening began
  const before = fleet.asked(`${N}/releases/${ID}/coverage`).length;
  vi.useFakeTimers();
  for (let revision = 3; revision < 23; revision++) {
    fleet.stream.event("release", release({ revision }));
    await act(async () => void (await vi.advanceTimersByTimeAsync(100)));
  }
  const asked = fleet.asked(`${N}/releases/${ID}/coverage`).length - before;
  expect(asked).toBeGreaterThanOrEqual(3);
  expect(asked).toBeLessThanOrEqual(6);
});
