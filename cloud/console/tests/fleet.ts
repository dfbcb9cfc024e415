// A whole cloud in the page's memory: it answers every request of the console from what a test put into it.
import type {
  Device,
  KillSwitch,
  Me,
  Notice,
  Overview,
  Release,
  ReleaseDevice,
  ReleaseEvent,
  Task,
  Version,
  VersionDetail,
  Why,
} from "../src/api/types";
import { type Asked, FakeCloud, failed, json, OVERVIEW, Stream } from "./cloud";

export const N = "/namespaces/demo/app";
export const NOW = Date.UTC(2026, 10, 26, 12, 0, 0);
const NOBODY = { targeted: 0, notified: 0, installed: 0, failed: 0 };

export function counts(targeted: number, installed: number, failed_ = 0, notified = installed + failed_) {
  return { targeted, notified, installed, failed: failed_ };
}

export function release(more: Partial<Release> = {}): Release {
  return {
    id: "r0000000000000000000000001",
    task: "digits",
    version: 3,
    state: "running",
    targeting: { attributes: {} },
    stages: [
      { share_ppm: 100_000, promote_at_ppm: 950_000 },
      { share_ppm: 1_000_000, promote_at_ppm: 0 },
    ],
    stage_index: 0,
    coverage: { ...counts(10, 4, 1), stages: [counts(10, 4, 1), counts(100, 4, 1)] },
    rollback_version: 2,
    traceparent: "00-abc-def-01",
    created_at_ms: NOW - 120_000,
    created_by: "ann",
    started_at_ms: NOW - 60_000,
    revision: 2,
    ...more,
  };
}

export function device(number: number, more: Partial<Device> = {}): Device {
  return {
    id: number.toString(16).padStart(32, "0"),
    status: "online",
    attributes: {},
    facts: {},
    installed: {},
    epoch: 7,
    enrolled_at_ms: NOW - 86_400_000,
    last_seen_at_ms: NOW - 5_000,
    revoked_at_ms: null,
    certificate_expires_at_ms: NOW + 86_400_000,
    ...more,
  };
}

export function event(revision: number, more: Partial<ReleaseEvent> = {}): ReleaseEvent {
  return {
    revision,
    at_ms: NOW - 60_000 + revision * 1_000,
    actor: "ann",
    event: { type: "command", command: "start" },
    state: "running",
    stage_index: 0,
    message: `message ${revision}`,
    ...more,
  };
}

export function version(number: number, more: Partial<Version> = {}): Version {
  return {
    task: "digits",
    version: number,
    digest: `sha256:${String(number).repeat(64).slice(0, 64)}`,
    state: "published",
    source_commit: "",
    created_at_ms: NOW - 1_000,
    created_by: "ann",
    published_at_ms: NOW,
    ...more,
  };
}

export class Fleet {
  readonly cloud = new FakeCloud();
  readonly stream = new Stream();
  me: Me = { actor: "owner", namespace: "*", scopes: ["*"], expires_at_ms: null };
  overview: Overview = structuredClone(OVERVIEW);
  namespaces = ["demo/app"];
  tasks: Task[] = [];
  versions: VersionDetail[] = [];
  releases: Release[] = [];
  events: ReleaseEvent[] = [];
  outcomes: ReleaseDevice[] = [];
  devices: Device[] = [];
  notices: Notice[] = [];
  kills: KillSwitch[] = [];
  why: Partial<Why> = { decision: "keep", releases: [] };
  pageSize = 1_000;
  /** Path, or "METHOD path", to the failure that it ends with for now. */
  readonly broken = new Map<string, () => Response | "away" | Promise<Response>>();

  constructor() {
    const on = (path: string, answer: (asked: Asked) => Response | Promise<Response>) =>
      this.cloud.on(path, (asked) => {
        const place = asked.path.split("?")[0] ?? "";
        const wrong = this.broken.get(`${asked.method} ${place}`) ?? this.broken.get(place);
        return wrong ? wrong() : answer(asked);
      });
    on("/me", () => json(this.me));
    on("/namespaces", () => {
      const items = this.namespaces.map((namespace) => ({ namespace, epoch: 1, created_at_ms: NOW }));
      return json({ items, next_page_token: "" });
    });
    on(`${N}/events`, () => this.stream.response);
    on(`${N}/tasks`, () => this.page(this.tasks));
    on(`${N}/releases`, (asked) => this.page(this.releases, asked));
    on(`${N}/devices`, (asked) => this.page(this.chosen(asked), asked));
    on(`${N}/notices`, () => this.page(this.notices));
    on(`${N}/kill-switches`, (asked) => (asked.method === "POST" ? this.kill(asked) : this.page(this.kills)));
    this.cloud.otherwise((asked) => {
      const place = asked.path.split("?")[0] ?? "";
      const wrong = this.broken.get(`${asked.method} ${place}`) ?? this.broken.get(place);
      return wrong ? wrong() : this.one(place.slice(N.length), asked);
    });
  }

  /** What the stream says first. */
  show(): void {
    this.stream.event("overview", this.overview);
    for (const one of this.releases) this.stream.event("release", one);
    for (const one of this.notices) this.stream.event("notice", one);
  }

  asked(path: string): Asked[] {
    return this.cloud.asked.filter((one) => (one.path.split("?")[0] ?? "") === path);
  }

  private page<T>(rows: T[], asked?: Asked): Response {
    const token = new URLSearchParams(asked?.path.split("?")[1]).get("page_token");
    const at = Number(token ?? 0);
    const next = at + this.pageSize;
    return json({ items: rows.slice(at, next), next_page_token: next < rows.length ? String(next) : "" });
  }

  private chosen(asked: Asked): Device[] {
    const query = new URLSearchParams(asked.path.split("?")[1]);
    const [status, prefix] = [query.get("status"), query.get("id_prefix") ?? ""];
    return this.devices.filter((one) => (!status || one.status === status) && one.id.startsWith(prefix));
  }

  private kill({ body }: Asked): Response {
    const { task, killed, reason } = body as { task: string; killed: boolean; reason: string };
    this.kills = this.kills.filter((row) => row.task !== task);
    if (killed) this.kills.push({ task, set_at_ms: NOW, set_by: "owner", reason });
    return json({ epoch: 8 });
  }

  private one(path: string, asked: Asked): Response {
    const [, kind = "", raw = "", sub = "", last = ""] = path.split("/");
    const id = decodeURIComponent(raw);
    const found = <T>(row: T | undefined) => (row ? json(row) : failed(404, "NOT_FOUND", `no ${kind} ${id}`));
    if (kind === "tasks" && last) return found(this.versions.find((row) => row.task === id && String(row.version) === last));
    if (kind === "tasks" && sub) {
      return this.tasks.some((row) => row.name === id)
        ? this.page(this.versions.filter((row) => row.task === id))
        : failed(404, "NOT_FOUND", `no task ${id}`);
    }
    if (kind === "releases" && sub === "coverage") return this.curve(id);
    if (kind === "releases" && sub === "events") return this.page(this.events, asked);
    if (kind === "releases" && sub === "devices") return this.page(this.outcomes, asked);
    if (kind === "releases" && id.endsWith(":command")) return this.command(id.slice(0, -":command".length), asked);
    if (kind === "releases") return found(this.releases.find((row) => row.id === id));
    if (kind === "devices" && sub === "why") return json({ device_id: id, task: "", decision: "", releases: [], ...this.why });
    if (kind === "devices") return found(this.devices.find((row) => row.id === id));
    return failed(404, "NOT_FOUND", "nothing here");
  }

  private curve(id: string): Response {
    const of = this.releases.find((row) => row.id === id);
    const coverage = of?.coverage ?? { ...NOBODY, stages: [] };
    const points = of?.started_at_ms ? [{ at_ms: of.started_at_ms, notified: 1, installed: 0, failed: 0 }] : [];
    return json({ release_id: id, coverage, points, installed_p50_ms: 1_500, installed_p99_ms: 61_000 });
  }

  private command(id: string, asked: Asked): Response {
    const states = { start: "running", pause: "paused", resume: "running", promote: "running", abort: "aborted", roll_back: "rolled_back" } as const;
    const before = this.releases.find((row) => row.id === id);
    if (!before) return failed(404, "NOT_FOUND", "no such release");
    if (asked.headers["If-Match"] !== `"${before.revision}"`) return failed(412, "REVISION_MOVED", "somebody was faster");
    const { command } = asked.body as { command: keyof typeof states };
    const after = { ...before, state: states[command], revision: before.revision + 1 };
    this.releases = this.releases.map((row) => (row.id === id ? after : row));
    return json(after);
  }
}
