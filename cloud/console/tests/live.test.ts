import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Client } from "../src/api/client";
import { LiveStore } from "../src/state/live";
import { FakeCloud, failed, OVERVIEW, Stream } from "./cloud";

const EVENTS = "/namespaces/demo/app/events";
let cloud: FakeCloud;
let store: LiveStore;
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  cloud = new FakeCloud();
  store = new LiveStore(new Client("secret", () => undefined).in("demo/app"));
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

function follow(answers: (() => Response | "away")[]): void {
  let number = 0;
  cloud.on(EVENTS, () => (answers[Math.min(number++, answers.length - 1)] as () => Response | "away")());
  stop = store.start();
}

async function settled(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

test("what the stream says is shown, newest notices first and each once", async () => {
  const stream = new Stream();
  follow([() => stream.response]);
  stream.event("overview", OVERVIEW);
  stream.event("release", { id: "r1", revision: 2 });
  for (const id of [1, 3, 2, 3]) stream.event("notice", { id, message: String(id) });
  await settled();
  const state = store.snapshot();
  expect([state.link, state.overview?.epoch, state.releases.get("r1")?.revision]).toEqual(["live", 7, 2]);
  expect(state.notices.map((notice) => notice.id)).toEqual([3, 2, 1]);
});

test("a lost stream is opened again, later and later, and what was seen stays", async () => {
  const stream = new Stream();
  follow([() => stream.response, () => "away"]);
  stream.event("overview", OVERVIEW);
  await settled();
  stream.end();
  await settled();
  expect([store.snapshot().link, store.snapshot().overview?.epoch]).toEqual(["lost", 7]);
  const asked = [];
  for (const wait of [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    await settled(wait - 1);
    asked.push(cloud.asked.length);
    await settled(1);
  }
  expect(asked).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(cloud.asked.length).toBe(8);
});

test("a stream that is back is live at once, and the wait begins anew", async () => {
  const second = new Stream();
  follow([() => "away", () => "away", () => second.response, () => "away"]);
  await settled(1_500);
  expect([store.snapshot().link, store.snapshot().trouble]).toEqual(["live", ""]);
  second.end();
  await settled();
  const before = cloud.asked.length;
  await settled(500);
  expect(cloud.asked.length).toBe(before + 1);
});

test("what the stream said before it ended is what is told", async () => {
  const first = new Stream();
  follow([() => first.response, () => "away"]);
  first.event("error", { code: "NOT_READY", message: "the database is away" });
  first.end();
  await settled();
  expect(store.snapshot().trouble).toBe("the database is away");
  await settled(500);
  expect(store.snapshot().trouble).toBe("The cloud does not answer.");
});

test.each([401, 403, 404])("a token that may not look (%d) is told and not tried again", async (status) => {
  follow([() => failed(status, "SCOPE_MISSING", "needs release:read")]);
  await settled(60_000);
  expect([store.snapshot().link, store.snapshot().trouble]).toEqual(["refused", "needs release:read"]);
  expect(cloud.asked.length).toBe(1);
});

test("a command's answer is shown, and an older event does not take it back", async () => {
  const stream = new Stream();
  follow([() => stream.response]);
  await settled();
  store.put({ id: "r1", revision: 5, state: "paused" } as never);
  stream.event("release", { id: "r1", revision: 4, state: "running" });
  await settled();
  expect(store.snapshot().releases.get("r1")?.state).toBe("paused");
  stream.event("release", { id: "r1", revision: 6, state: "running" });
  await settled();
  expect(store.snapshot().releases.get("r1")?.state).toBe("running");
});

test("nothing is asked after the page is left", async () => {
  follow([() => "away"]);
  await settled();
  stop();
  await settled(60_000);
  expect(cloud.asked.length).toBe(1);
});
