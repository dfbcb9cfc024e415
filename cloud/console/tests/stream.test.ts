import { expect, test } from "vitest";
import { EventParser } from "../src/api/stream";

const TEXT = 'retry: 2000\n\nevent: release\nid: 1\ndata: {"a": "é"}\n\n: heartbeat\n\nevent: notice\ndata: 1\ndata: 2\n\n';
const EVENTS = [
  { event: "release", data: '{"a": "é"}' },
  { event: "notice", data: "1\n2" },
];

test("events are the same wherever a chunk ends", () => {
  for (let cut = 0; cut <= TEXT.length; cut++) {
    const parser = new EventParser();
    expect([...parser.push(TEXT.slice(0, cut)), ...parser.push(TEXT.slice(cut))]).toEqual(EVENTS);
  }
});

test("half an event is no event", () => {
  expect(new EventParser().push("event: release\ndata: {")).toEqual([]);
});
