// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
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
  return `${percents.format(ppm / 10_000)} %`;
}

/** A part of a whole, rounded down, so that 100 % means all. */
export function part(value: number, of: number): string {
  return of > 0 ? `${percents.format(Math.floor((value / of) * 1000) / 10)} %` : "–";
}

export function dateTime(ms: number): string {
  return dates.format(ms);
}

export function clock(ms: number): string {
  return clocks.format(ms);
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

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1024 * 1024) return `${percents.format(size / 1024)} KiB`;
  return `${percents.format(size / 1024 / 1024)} MiB`;
}

/** The start of a long id or digest. */
export function short(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
