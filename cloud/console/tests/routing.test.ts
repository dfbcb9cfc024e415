import { expect, test } from "vitest";
import { parseRoute, pathTo } from "../src/routing";

test.each([
  ["/console", { namespace: "", page: "overview", id: "" }],
  ["/console/demo", { namespace: "", page: "overview", id: "" }],
  ["/console/demo/app", { namespace: "demo/app", page: "overview", id: "" }],
  ["/console/demo/app/releases/r1", { namespace: "demo/app", page: "releases", id: "r1" }],
  ["/console/demo/app/tasks/%zz", { namespace: "demo/app", page: "tasks", id: "%zz" }],
  ["/console/demo/app/tasks/%E0%A4%A", { namespace: "demo/app", page: "tasks", id: "%E0%A4%A" }],
])("%s", (path, route) => expect(parseRoute(path)).toEqual(route));

test.each(["r1", "a b", "a/b", "ä?#"])("an id %s comes back from its address", (id) => {
  expect(parseRoute(pathTo("demo/app", "tasks", id)).id).toBe(id);
});
