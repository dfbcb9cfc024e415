import { describe, expect, test } from "vitest";
import { ago, bytes, count, devices, duration, part, share, short } from "../src/format";

describe("durations", () => {
  test.each([
    [0, "0 ms"],
    [999.4, "999 ms"],
    [999.6, "1 s"],
    [59_940, "59.9 s"],
    [59_960, "1 min 0 s"],
    [119_700, "2 min 0 s"],
    [3_599_400, "59 min 59 s"],
    [3_599_600, "1 h 0 min"],
    [7_190_000, "2 h 0 min"],
  ])("%d ms", (ms, text) => expect(duration(ms)).toBe(text));

  test("no unit is ever full", () => {
    for (let ms = 1; ms < 20_000_000; ms = Math.ceil(ms * 1.003)) {
      expect(duration(ms)).not.toMatch(/\b60 (s|min)\b|1,000 ms/);
    }
  });
});

test.each([
  [-5_000, "just now"], // a clock that runs ahead
  [59_000, "59 s ago"],
  [61_000, "1 min ago"],
  [7_300_000, "2 h ago"],
  [200_000_000, "2 d ago"],
])("%d ms ago", (ms, text) => expect(ago(0, ms)).toBe(text));

test("100 % means all, and nothing of nothing is no share", () => {
  expect(part(999_999, 1_000_000)).toBe("99.9 %");
  expect(part(1_000_000, 1_000_000)).toBe("100 %");
  expect(part(0, 0)).toBe("–");
});

test("numbers, shares, sizes and ids as people read them", () => {
  expect(count(100_000)).toBe("100,000");
  expect(devices(1)).toBe("1 device");
  expect(share(5_000)).toBe("0.5 %");
  expect(bytes(1536)).toBe("1.5 KiB");
  expect(short(`sha256:${"ab".repeat(32)}`)).toBe("abababababab");
});
