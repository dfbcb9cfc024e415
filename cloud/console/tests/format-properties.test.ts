// Numbers and times as people read them, over all there may be.
import { expect, test } from "vitest";
import { ago, bytes, clock, dateTime, isDate, part, share } from "../src/format";

let seed = 3;
function random(below: number): number {
  seed = (seed * 48_271) % 2_147_483_647;
  return seed % below;
}

test("a share is shown as it was set, to the millionth", () => {
  for (const ppm of [1, 10, 99, 100, 5_000, 12_345, 999_999, 1_000_000]) {
    expect(Math.round(Number(share(ppm).replace(" %", "")) * 10_000)).toBe(ppm);
  }
  for (let round = 0; round < 2_000; round++) {
    const ppm = random(1_000_001);
    expect(Math.round(Number(share(ppm).replace(" %", "")) * 10_000)).toBe(ppm);
  }
});

test("a part is rounded down to a tenth, exactly", () => {
  for (let round = 0; round < 5_000; round++) {
    const of = 1 + random(100_000);
    const value = random(of + 1);
    const tenths = Number((BigInt(value) * 1000n) / BigInt(of));
    expect(part(value, of)).toBe(`${new Intl.NumberFormat("en").format(tenths / 10)} %`);
  }
});

test("no unit of size is ever full", () => {
  for (let size = 1; size < 5e12; size = Math.ceil(size * 1.01)) {
    expect(bytes(size)).not.toMatch(/^1,02[4-9]|^[2-9],\d{3} [KMG]/);
  }
  const sizes = [0, 1023, 1024, 1024 ** 2 - 1, 1024 ** 2, 1024 ** 3 - 1, 1024 ** 3, 5 * 1024 ** 3, 1024 ** 4];
  expect(sizes.map(bytes)).toEqual(["0 B", "1,023 B", "1 KiB", "1 MiB", "1 MiB", "1 GiB", "1 GiB", "5 GiB", "1 TiB"].map((one) => one.replace("1,023 B", "1023 B")));
});

test("time goes on: what is longer ago is never said to be later", () => {
  const rank = (said: string) => {
    const units: Record<string, number> = { s: 1, min: 60, h: 3_600, d: 86_400 };
    const [, number = "0", unit = "s"] = /^(\d+) (\w+) ago$/.exec(said) ?? [];
    return Number(number) * (units[unit] ?? 1);
  };
  let before = -1;
  for (let ms = 0; ms < 1e10; ms = Math.ceil(ms * 1.01) + 37) {
    const now = rank(ago(0, ms));
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now * 1000).toBeLessThanOrEqual(ms + 500);
    before = now;
  }
});

test.each([8.64e15 + 1, -8.64e15 - 1, 2 ** 62, -(2 ** 62), Number.MAX_VALUE])("%d ms is no date and no fault", (ms) => {
  expect([isDate(ms), dateTime(ms), clock(ms)]).toEqual([false, "no date", "no time"]);
});

test.each([0, -1, 8.64e15, -8.64e15, Date.UTC(2026, 10, 26)])("%d ms is a date", (ms) => {
  expect(isDate(ms)).toBe(true);
  expect(dateTime(ms)).toMatch(/\d/);
  expect(clock(ms)).toMatch(/^\d\d:\d\d:\d\d$/);
});
