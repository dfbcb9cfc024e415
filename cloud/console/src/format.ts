// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
// A share is set to a millionth, and shown as it is set: 0.01 % is not "0 %", nor 99.99 % "100 %".
const shares = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });
const percents = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const dates = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const clocks = new Intl.DateTimeFormat("en", { timeStyle: "medium", hourCycle: "h23" });

export function count(value: number): string {
  return whole.format(value);
}

export function devices(value: number): string {
  return `${whole.format(value)} ${value === 1 ? "device" : "devices"}`;
}

/** Parts per million as a percentage. */
export function share(ppm: number): string {
  return `${shares.format(ppm / 10_000)} %`;
}

/** A part of a whole, rounded down, so that 100 % means all. */
export function part(value: number, of: number): string {
  return of > 0 ? `${percents.format(Math.floor((value * 1000) / of) / 10)} %` : "–";
}

/** What a calendar has; a device's clock may be anywhere else. */
export function isDate(ms: number): boolean {
  return Math.abs(ms) <= 8.64e15;
}

export function dateTime(ms: number): string {
  return isDate(ms) ? dates.format(ms) : "no date";
}

export function clock(ms: number): string {
  return isDate(ms) ? clocks.format(ms) : "no time";
}

export function ago(ms: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

export function duration(ms: number): string {
  // Rounded to what is shown before it is cut up: 119.7 s are "2 min 0 s", never "1 min 60 s".
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${percents.format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(ms / 60_000);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const SIZES = ["KiB", "MiB", "GiB", "TiB"];

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  let value = size / 1024;
  let unit = 0;
  // As with durations: what would be rounded to 1,024 is one of the next unit.
  for (; value >= 1023.95 && unit < SIZES.length - 1; unit++) value /= 1024;
  return `${percents.format(value)} ${SIZES[unit]}`;
}

/** The start of a long id or digest. */
export function short(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
