// A cloud in the page's memory: it answers fetch, and its event stream sends what a test says and ends when it says.
import { vi } from "vitest";

export interface Asked {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: unknown;
}

type Answer = Response | "away" | Promise<Response>;

export class FakeCloud {
  readonly asked: Asked[] = [];
  private readonly answers = new Map<string, (asked: Asked) => Answer>();
  private rest: (asked: Asked) => Answer = () => failed(404, "NOT_FOUND", "nothing here");

  constructor() {
    vi.stubGlobal("fetch", (url: string, init: RequestInit) => this.fetch(url, init));
  }

  on(path: string, answer: (asked: Asked) => Answer): void {
    this.answers.set(path, answer);
  }

  /** Answers every path that no other answer is for. */
  otherwise(answer: (asked: Asked) => Answer): void {
    this.rest = answer;
  }

  private async fetch(url: string, init: RequestInit): Promise<Response> {
    const path = url.replace("/api/v1", "");
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as unknown) : null;
    const asked = { method: init.method ?? "GET", path, headers: init.headers as Record<string, string>, body };
    this.asked.push(asked);
    const answer = this.answers.get(path.split("?")[0] ?? "") ?? this.rest;
    const given = await answer(asked);
    if (init.signal?.aborted) throw new DOMException("given up", "AbortError");
    if (given === "away") throw new TypeError("Failed to fetch");
    return given;
  }
}

export function json(value: unknown): Response {
  return new Response(JSON.stringify(value), { status: 200 });
}

export function failed(status: number, code: string, message: string): Response {
  return new Response(JSON.stringify({ error: { code, message, hint: "do this next" } }), { status });
}

export class Stream {
  private controller!: ReadableStreamDefaultController<Uint8Array>;
  readonly response = new Response(
    new ReadableStream<Uint8Array>({ start: (controller) => void (this.controller = controller) }),
  );

  send(text: string): void {
    this.controller.enqueue(new TextEncoder().encode(text));
  }

  event(name: string, data: unknown): void {
    this.send(`event: ${name}\nid: 1\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    this.controller.close();
  }
}

export const OVERVIEW = {
  namespace: "demo/app",
  epoch: 7,
  now_ms: 0,
  devices: { total: 0, online: 0, stale: 0, offline: 0, revoked: 0 },
  versions: [],
  releases: [],
  runs: [],
  kill: { all: false, tasks: [] },
  notices: 0,
};
