// Whole pages over a cloud in memory: what somebody sees when there is nothing, when something fails, and page by page.
import { act, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { App } from "../src/app";
import { Boundary } from "../src/ui/boundary";
import { FakeCloud, failed, json, OVERVIEW, Stream } from "./cloud";

const N = "/namespaces/demo/app";
let cloud: FakeCloud;
let stream: Stream;
let root: Root;

beforeEach(() => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
  cloud = new FakeCloud();
  stream = new Stream();
  cloud.on("/me", () => json({ actor: "owner", namespace: "*", scopes: ["*"], expires_at_ms: null }));
  cloud.on(`${N}/events`, () => stream.response);
  sessionStorage.clear();
  const holder = document.createElement("div");
  document.body.replaceChildren(holder);
  root = createRoot(holder);
});

afterEach(async () => {
  await act(async () => root.unmount());
});

async function shown(what: ReactNode): Promise<void> {
  await act(async () => root.render(what));
}

async function open(path: string, token = "secret"): Promise<void> {
  if (token) sessionStorage.setItem("shoal.token", token);
  history.replaceState(null, "", `/console/${path}`);
  await shown(<App />);
  await act(async () => undefined);
}

function text(): string {
  return document.body.textContent ?? "";
}

async function click(name: string): Promise<void> {
  const button = [...document.querySelectorAll("button")].find((one) => one.textContent === name);
  if (!button) expect.fail(`no button ${name} in: ${text()}`);
  await act(async () => button.click());
}

function device(number: number) {
  const id = number.toString(16).padStart(32, "0");
  return { id, status: "online", attributes: {}, facts: {}, installed: {}, epoch: 1, last_seen_at_ms: null };
}

test("an empty fleet says how to begin", async () => {
  await open("demo/app");
  await vi.waitFor(async () => {
    await act(async () => stream.event("overview", OVERVIEW));
    expect(text()).toContain("Nothing is installed yet");
  });
  expect(text()).toContain("0 of 0 online");
  expect(text()).toContain("shoal release create TASK VERSION --start");
  expect(text()).toContain("Live");
});

test.each([
  ["devices", `${N}/devices`, "shoal device token create"],
  ["tasks", `${N}/tasks`, "shoal task"],
  ["releases", `${N}/releases`, "shoal release create"],
])("%s: none yet says what makes one, a failure says what to do and tries again", async (page, path, command) => {
  cloud.on(path, () => failed(503, "NOT_READY", "the database is away"));
  await open(`demo/app/${page}`);
  expect(document.querySelector("[role=alert]")?.textContent).toContain("the database is awaydo this nextNOT_READY");
  cloud.on(path, () => json({ items: [], next_page_token: "" }));
  await click("Try again");
  expect(text()).toContain(command);
});

test("a token without the scope is told which, and is not asked for again", async () => {
  cloud.on(`${N}/events`, () => failed(403, "SCOPE_MISSING", "this needs the scope release:read"));
  await open("demo/app");
  expect(text()).toContain("this needs the scope release:read");
  expect(text()).toContain("Not allowed");
  expect(text()).not.toContain("Reconnecting");
});

test("a refused token leads to the sign-in, and nothing of it stays", async () => {
  cloud.on("/me", () => failed(401, "UNAUTHENTICATED", "expired"));
  await open("demo/app");
  expect(text()).toContain("The cloud refused the token");
  expect(sessionStorage.getItem("shoal.token")).toBeNull();
});

test("a login link's token is taken out of the address", async () => {
  await open("demo/app#token=linked", "");
  expect(location.hash).toBe("");
  expect(cloud.asked[0]?.headers.Authorization).toBe("Bearer linked");
});

test("pages of devices go forth and back by their tokens, and a new filter begins at the first", async () => {
  cloud.on(`${N}/devices`, ({ path }) => {
    const at = Number(new URLSearchParams(path.split("?")[1]).get("page_token") ?? "0");
    return json({ items: [device(at)], next_page_token: at < 2 ? String(at + 1) : "" });
  });
  await open("demo/app/devices");
  expect(text()).toContain("Page 1");
  await click("Next");
  await click("Next");
  expect(text()).toContain("Page 3");
  expect(document.querySelector(".id")?.getAttribute("title")).toBe(device(2).id);
  expect([...document.querySelectorAll("button")].find((one) => one.textContent === "Next")?.disabled).toBe(true);
  await click("Previous");
  expect(document.querySelector(".id")?.getAttribute("title")).toBe(device(1).id);
  await click("offline");
  expect(text()).toContain("Page 1");
  expect(cloud.asked.at(-1)?.path).toContain("status=offline");
  expect(cloud.asked.at(-1)?.path).not.toContain("page_token");
});

test("a device that holds and says much stays one row", async () => {
  const installed = Object.fromEntries(
    Array.from({ length: 12 }, (_, n) => [`task-${n}`, { version: n, digest: "", state: n ? "installed" : "killed" }]),
  );
  const attributes = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`attribute-${n}`, "v".repeat(200)]));
  cloud.on(`${N}/devices`, () => json({ items: [{ ...device(1), installed, attributes }], next_page_token: "" }));
  await open("demo/app/devices");
  expect(text()).toContain("task-0 0 (killed), task-1 1 and 10 more");
  expect(text()).toContain("and 17 more");
  expect(document.querySelectorAll(".attribute").length).toBe(3);
});

test("an address that leads nowhere, and one that is no encoding, are pages", async () => {
  await open("demo/app/nonsense");
  expect(text()).toContain("This address leads nowhere.");
  await open("demo/app/tasks/%zz");
  expect(text()).toContain("nothing here");
});

test("a page that fails says so, and another place is free of it", async () => {
  const quiet = vi.spyOn(console, "error").mockImplementation(() => undefined);
  function Broken(): ReactNode {
    throw new Error("broken page");
  }
  await shown(
    <Boundary where="a">
      <Broken />
    </Boundary>,
  );
  expect(text()).toContain("broken page");
  await shown(<Boundary where="b">fine</Boundary>);
  expect(text()).toBe("fine");
  expect(quiet).toHaveBeenCalled();
});
