// Coming in and going out: tokens, namespaces, addresses, the frame around every page.
import { act } from "react";
import { expect, test } from "vitest";
import { failed } from "./cloud";
import { N } from "./fleet";
import { alert, button, click, fleet, follow, open, screen, settled, text, texts, type } from "./screen";

screen();
const FIELD = "input[type=password]";

test("without a token there is a sign-in, and nothing is asked of the cloud", async () => {
  await open("demo/app", { token: "", live: false });
  expect(button("Sign in").disabled).toBe(true);
  await type(FIELD, "   ");
  expect(button("Sign in").disabled).toBe(true);
  expect(fleet.cloud.asked).toEqual([]);
  expect(document.querySelector(FIELD)?.getAttribute("autocomplete")).toBe("off");
});

test("a token is taken without what surrounds it, and kept for this tab", async () => {
  await open("demo/app", { token: "", live: false });
  await type(FIELD, "  secret\n");
  await act(async () => document.querySelector("form")?.requestSubmit());
  await settled();
  expect(sessionStorage.getItem("shoal.token")).toBe("secret");
  expect(localStorage.length).toBe(0);
  expect(fleet.cloud.asked[0]?.headers.Authorization).toBe("Bearer secret");
  expect(text(".who")).toContain("owner");
});

test("signing out forgets the token and says nothing of a refusal", async () => {
  await open("demo/app");
  await click("Sign out");
  expect(sessionStorage.getItem("shoal.token")).toBeNull();
  expect(document.querySelector(FIELD)).not.toBeNull();
  expect(alert()).toBe("");
});

test("a cloud that is away at the start is asked again", async () => {
  fleet.broken.set("/me", () => "away");
  await open("demo/app");
  expect(alert()).toContain("The cloud does not answer.");
  fleet.broken.clear();
  await click("Try again");
  expect(text(".who")).toContain("owner");
});

test("a login link in an open tab changes who looks", async () => {
  await open("demo/app");
  await act(async () => {
    history.replaceState(null, "", "/console/demo/app#token=another");
    dispatchEvent(new Event("hashchange"));
  });
  await settled();
  expect(fleet.cloud.asked.at(-1)?.headers.Authorization).toBe("Bearer another");
  expect(location.hash).toBe("");
});

test("one namespace is entered at once, and Back does not lead to the choice", async () => {
  const before = history.length;
  await open("");
  expect(location.pathname).toBe("/console/demo/app");
  expect(history.length).toBe(before);
});

test("of many namespaces one is chosen", async () => {
  fleet.namespaces = ["demo/app", "demo/other"];
  await open("", { live: false });
  expect(texts(".choice strong")).toEqual(["demo/app", "demo/other"]);
  await follow(".choice");
  expect(location.pathname).toBe("/console/demo/app");
  expect(text(".where")).toBe("Namespacedemo/app");
  await follow(".where");
  expect(texts(".choice strong").length).toBe(2);
});

test("no namespace, and a list that does not come, say what to do", async () => {
  fleet.namespaces = [];
  await open("", { live: false });
  expect(text(".empty")).toContain("shoal cloud serve --namespace app/project");
  await click("Sign out");
  fleet.broken.set("/namespaces", () => failed(500, "INTERNAL", "a fault of ours"));
  await type(FIELD, "secret");
  await act(async () => document.querySelector("form")?.requestSubmit());
  await settled();
  expect(alert()).toContain("a fault of ours");
});

test("a namespace that is not there is told by the stream and the page", async () => {
  fleet.cloud.on("/namespaces/demo/none/events", () => failed(404, "NAMESPACE_UNKNOWN", "there is no namespace demo/none"));
  await open("demo/none", { live: false });
  expect(text(".empty")).toContain("there is no namespace demo/none");
  expect(text(".link")).toContain("Not allowed");
});

test("odd names in an address reach the cloud as names", async () => {
  await open("a%20b/c%2Fd/tasks", { live: false });
  expect(fleet.cloud.asked.map((one) => one.path)).toContain("/namespaces/a%20b/c/d/tasks?page_size=500");
});

test("the frame names where one is, and the page is titled by it", async () => {
  await open("demo/app/devices");
  const current = [...document.querySelectorAll("[aria-current=page]")].map((one) => one.textContent);
  expect(current).toEqual(["Devices"]);
  expect(document.title).toBe("devices · demo/app · Shoal");
  expect(document.querySelector(".skip")?.getAttribute("href")).toBe("#main");
  await follow(".nav");
  expect(document.title).toBe("overview · demo/app · Shoal");
  expect(location.pathname).toBe("/console/demo/app");
});

test("every page has one heading, a main part, and a name on each button and field", async () => {
  for (const page of ["", "/releases", "/tasks", "/devices", "/stop", "/nonsense"]) {
    await open(`demo/app${page}`, { live: page === "" });
    expect(document.querySelectorAll("h1").length).toBe(1);
    expect(document.querySelectorAll("main#main").length).toBe(1);
    for (const one of document.querySelectorAll("button, a, input, textarea, select")) {
      const label = one.getAttribute("aria-label") ?? one.textContent ?? "";
      expect(label.trim() || one.closest("label")?.textContent).toBeTruthy();
    }
  }
});

test("leaving a namespace ends its stream", async () => {
  fleet.namespaces = ["demo/app", "demo/other"];
  await open("demo/app");
  await follow(".where");
  expect(fleet.asked(`${N}/events`).length).toBe(1);
  fleet.stream.end();
  await settled();
  expect(fleet.asked(`${N}/events`).length).toBe(1);
});
