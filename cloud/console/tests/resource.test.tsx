// What is fetched, and when: no answer of an older question is shown, nothing is lost on the way, nothing floods.
import { act } from "react";
import { expect, test, vi } from "vitest";
import { ApiError } from "../src/api/client";
import { type Resource, usePaced, useResource } from "../src/state/resource";
import { screen, settled, shown, text } from "./screen";

screen();

class Questions {
  readonly open: { key: string; signal: AbortSignal; answer: (value: string) => void; fail: (error: unknown) => void }[] = [];

  ask = (key: string) => (signal: AbortSignal) =>
    new Promise<string>((answer, fail) => void this.open.push({ key, signal, answer, fail }));

  async answer(place: number, value: string): Promise<void> {
    await act(async () => this.open[place]?.answer(value));
  }

  async fail(place: number, error: unknown): Promise<void> {
    await act(async () => this.open[place]?.fail(error));
  }
}

let held: Resource<string>;

function Shown({ of, at, version = 0 }: { of: Questions; at: string; version?: number }) {
  held = useResource(at, version, of.ask(at));
  return <p>{held.data ?? held.error?.message ?? "waiting"}</p>;
}

test("an answer to an older question is never shown", async () => {
  const questions = new Questions();
  await shown(<Shown of={questions} at="a" />);
  await shown(<Shown of={questions} at="b" />);
  expect(questions.open.map((one) => [one.key, one.signal.aborted])).toEqual([
    ["a", true],
    ["b", false],
  ]);
  await questions.answer(1, "of b");
  await questions.answer(0, "of a");
  expect(text("p")).toBe("of b");
  await shown(<Shown of={questions} at="a" />);
  expect(text("p")).toBe("waiting");
});

test("a newer version keeps what is shown until its answer is there, and through its failure", async () => {
  const questions = new Questions();
  await shown(<Shown of={questions} at="a" version={1} />);
  await questions.answer(0, "first");
  await shown(<Shown of={questions} at="a" version={2} />);
  expect(text("p")).toBe("first");
  await questions.fail(1, new ApiError(503, "NOT_READY", "away", ""));
  expect([held.data, held.error?.code]).toEqual(["first", "NOT_READY"]);
  await act(async () => held.reload());
  await questions.answer(2, "second");
  expect([held.data, held.error]).toEqual(["second", null]);
});

test("another key forgets a failure and what was there", async () => {
  const questions = new Questions();
  await shown(<Shown of={questions} at="a" />);
  await questions.fail(0, new Error("odd"));
  expect([held.error?.code, held.error?.message]).toEqual(["UNKNOWN", "Error: odd"]);
  await shown(<Shown of={questions} at="b" />);
  expect([held.data, held.error]).toEqual([null, null]);
});

test("who leaves gives up the question", async () => {
  const questions = new Questions();
  await shown(<Shown of={questions} at="a" />);
  await shown(<p>elsewhere</p>);
  expect(questions.open[0]?.signal.aborted).toBe(true);
  await questions.fail(0, new DOMException("given up", "AbortError"));
  await settled();
  expect(text("p")).toBe("elsewhere");
});

function Paced({ value, ms }: { value: number; ms: number }) {
  return <p>{usePaced(value, ms)}</p>;
}

async function pass(ms: number): Promise<void> {
  await act(async () => void (await vi.advanceTimersByTimeAsync(ms)));
}

test("a value is followed at most every so often, and its last state always", async () => {
  vi.useFakeTimers();
  const seen = new Set<string>();
  for (let value = 0; value <= 50; value++) {
    await shown(<Paced value={value} ms={100} />);
    await pass(10);
    seen.add(text("p"));
  }
  // 510 ms: it starts with 0, and then at most one in 100 ms.
  expect(seen.size).toBeGreaterThanOrEqual(4);
  expect(seen.size).toBeLessThanOrEqual(6);
  await pass(100);
  expect(text("p")).toBe("50");
});

test("a value that came back in time is no change", async () => {
  vi.useFakeTimers();
  await shown(<Paced value={1} ms={100} />);
  await shown(<Paced value={2} ms={100} />);
  await pass(50);
  await shown(<Paced value={1} ms={100} />);
  await pass(1_000);
  expect(text("p")).toBe("1");
  await shown(<Paced value={3} ms={100} />);
  await pass(99);
  expect(text("p")).toBe("1");
  await pass(1);
  expect(text("p")).toBe("3");
});
