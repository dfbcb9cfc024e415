// What the event stream of a namespace shows, kept current; pages read it and never poll.
import { useSyncExternalStore } from "react";
import { ApiError, type NamespaceClient } from "../api/client";
import { readEvents, type StreamEvent } from "../api/stream";
import type { Notice, Overview, Release } from "../api/types";

export interface LiveState {
  /** refused: the token may not see the stream; asking again would not help. */
  link: "connecting" | "live" | "lost" | "refused";
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
/** A wrong token, a scope that it lacks, a namespace that is not there. */
const REFUSALS = [401, 403, 404];

export class LiveStore {
  private state = NOTHING;
  private said = "";
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
        await readEvents(response, (events) => {
          this.said = events.reduce(complaint, this.said);
          this.set(events.reduce(apply, this.state));
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && REFUSALS.includes(error.status)) {
          this.set({ ...this.state, link: "refused", trouble: error.message });
          return;
        }
        if (error instanceof ApiError) trouble = error.message;
      }
      if (signal.aborted) return;
      // What the stream itself said before it ended says more than that it ended.
      this.set({ ...this.state, link: "lost", trouble: this.said || trouble });
      this.said = "";
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
    default:
      return state;
  }
}

function complaint(before: string, { event, data }: StreamEvent): string {
  return event === "error" ? (JSON.parse(data) as { message: string }).message : before;
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
