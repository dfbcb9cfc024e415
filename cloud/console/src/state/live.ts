// What the event stream of a namespace shows, kept current; pages read it and never poll.
import { useSyncExternalStore } from "react";
import { ApiError, type NamespaceClient } from "../api/client";
import { readEvents, type StreamEvent } from "../api/stream";
import type { Notice, Overview, Release } from "../api/types";

export interface LiveState {
  link: "connecting" | "live" | "lost";
  trouble: string;
  overview: Overview | null;
  releases: ReadonlyMap<string, Release>;
  notices: readonly Notice[];
}

const NOTHING: LiveState = {
  link: "connecting",
  trouble: "",
  overview: null,
  releases: new Map(),
  notices: [],
};
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
const NOTICES_MAX = 100;

export class LiveStore {
  private state = NOTHING;
  private readonly listeners = new Set<() => void>();
  private ending = new AbortController();

  constructor(private readonly client: NamespaceClient) {}

  /** Follows the stream until the returned function is called. */
  start(): () => void {
    this.ending = new AbortController();
    void this.follow(this.ending.signal);
    return () => this.ending.abort();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  snapshot = (): LiveState => this.state;

  /** Shows a release that a command answered with, without waiting for the stream. */
  put(release: Release): void {
    this.set(withRelease(this.state, release));
  }

  private async follow(signal: AbortSignal): Promise<void> {
    let wait = RETRY_MS_MIN;
    while (!signal.aborted) {
      let trouble = "The stream of changes ended.";
      try {
        const response = await this.client.open("/events", { signal });
        this.set({ ...this.state, link: "live", trouble: "" });
        wait = RETRY_MS_MIN;
        await readEvents(response, (events) => this.set(events.reduce(apply, this.state)));
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.status === 401) return;
        if (error instanceof ApiError) trouble = error.message;
      }
      if (signal.aborted) return;
      this.set({ ...this.state, link: "lost", trouble: this.state.trouble || trouble });
      await pause(wait, signal);
      wait = Math.min(wait * 2, RETRY_MS_MAX);
    }
  }

  private set(state: LiveState): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

export function useLive(store: LiveStore): LiveState {
  return useSyncExternalStore(store.subscribe, store.snapshot);
}

function apply(state: LiveState, { event, data }: StreamEvent): LiveState {
  switch (event) {
    case "overview":
      return { ...state, overview: JSON.parse(data) as Overview };
    case "release":
      return withRelease(state, JSON.parse(data) as Release);
    case "notice":
      return withNotice(state, JSON.parse(data) as Notice);
    case "error":
      return { ...state, trouble: (JSON.parse(data) as { message: string }).message };
    default:
      return state;
  }
}

function withRelease(state: LiveState, release: Release): LiveState {
  const known = state.releases.get(release.id);
  // A command's answer may overtake the stream: never go back.
  if (known && known.revision > release.revision) return state;
  return { ...state, releases: new Map(state.releases).set(release.id, release) };
}

function withNotice(state: LiveState, notice: Notice): LiveState {
  const others = state.notices.filter((known) => known.id !== notice.id);
  const notices = [notice, ...others].sort((a, b) => b.id - a.id).slice(0, NOTICES_MAX);
  return { ...state, notices };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
