import { expect, test } from "vitest";
import { ApiError, Client } from "../src/api/client";
import type { Release } from "../src/api/types";
import { FakeCloud, failed, json } from "./cloud";

function open() {
  const cloud = new FakeCloud();
  let refusals = 0;
  const client = new Client("secret", () => void refusals++);
  return { cloud, client, here: client.in("demo/app"), refusals: () => refusals };
}

async function error(of: Promise<unknown>): Promise<ApiError> {
  return of.then(
    () => expect.fail("it did not fail"),
    (failure: unknown) => failure as ApiError,
  );
}

test("the token goes in a header and never into an address", async () => {
  const { cloud, here } = open();
  cloud.on("/namespaces/demo/app/devices", () => json({ items: [], next_page_token: "" }));
  await here.devices({ status: "online", id_prefix: "" }, "next");
  expect(cloud.asked[0]?.headers.Authorization).toBe("Bearer secret");
  expect(cloud.asked[0]?.path).toBe("/namespaces/demo/app/devices?status=online&page_size=50&page_token=next");
});

test("a command carries the revision that was seen, and no version unless one is named", async () => {
  const { cloud, here } = open();
  cloud.on("/namespaces/demo/app/releases/r1:command", () => json({}));
  await here.command({ id: "r1", revision: 7 } as Release, "pause", "look", null);
  await here.command({ id: "r1", revision: 7 } as Release, "roll_back", "", 0);
  expect(cloud.asked[0]?.headers["If-Match"]).toBe('"7"');
  expect(cloud.asked.map((one) => one.body)).toEqual([
    { command: "pause", reason: "look" },
    { command: "roll_back", reason: "", rollback_version: 0 },
  ]);
});

test("a failure keeps code, message and hint", async () => {
  const { cloud, client, refusals } = open();
  cloud.on("/me", () => failed(403, "SCOPE_MISSING", "needs task:read"));
  const told = await error(client.me());
  expect([told.status, told.code, told.message, told.hint]).toEqual([
    403,
    "SCOPE_MISSING",
    "needs task:read",
    "do this next",
  ]);
  expect(refusals()).toBe(0);
});

test.each([
  ["no cloud", () => "away" as const, "UNREACHABLE", 0],
  ["a proxy's page", () => new Response("<html>", { status: 502, statusText: "Bad Gateway" }), "UNKNOWN", 502],
])("%s is told as a failure", async (_, answer, code, status) => {
  const { cloud, client } = open();
  cloud.on("/me", answer);
  const told = await error(client.me());
  expect([told.code, told.status]).toEqual([code, status]);
  expect(told.hint).not.toBe("");
});

test("a refused token is told once for each refusal", async () => {
  const { cloud, client, refusals } = open();
  cloud.on("/me", () => failed(401, "UNAUTHENTICATED", "expired"));
  await error(client.me());
  expect(refusals()).toBe(1);
});

test("what was given up is no failure of the cloud", async () => {
  const { cloud, client } = open();
  cloud.on("/me", () => Promise.reject(new DOMException("given up", "AbortError")));
  expect(await error(client.me())).toBeInstanceOf(DOMException);
});
