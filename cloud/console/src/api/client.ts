// The REST client: one function a request, failures as ApiError with what to do next.
import type {
  Command,
  Curve,
  Device,
  KillSwitch,
  Me,
  Namespace,
  Notice,
  Page,
  Release,
  ReleaseDevice,
  ReleaseEvent,
  Task,
  Version,
  VersionDetail,
  Why,
} from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** Any failure as one that can be shown. */
export function told(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, "UNKNOWN", String(error), "");
}

interface Request {
  method?: "GET" | "POST";
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export class Client {
  constructor(
    private readonly token: string,
    private readonly refused: () => void,
  ) {}

  /** Sends a request and gives the raw answer; a failure is an ApiError. */
  async open(path: string, request: Request = {}): Promise<Response> {
    const headers: Record<string, string> = {
      Authorization: `Bearer ${this.token}`,
      ...request.headers,
    };
    if (request.body !== undefined) headers["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(`/api/v1${path}`, {
        method: request.method ?? "GET",
        headers,
        body: request.body === undefined ? null : JSON.stringify(request.body),
        signal: request.signal ?? null,
        cache: "no-store",
      });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError(0, "UNREACHABLE", "The cloud does not answer.", "Is it still running?");
    }
    if (response.status === 401) this.refused();
    if (!response.ok) throw await failure(response);
    return response;
  }

  private async json<T>(path: string, request: Request = {}): Promise<T> {
    return (await this.open(path, request)).json() as Promise<T>;
  }

  me(signal?: AbortSignal): Promise<Me> {
    return this.json("/me", opt(signal));
  }

  namespaces(signal?: AbortSignal): Promise<Page<Namespace>> {
    return this.json("/namespaces", opt(signal));
  }

  in(namespace: string): NamespaceClient {
    const base = `/namespaces/${namespace.split("/").map(encodeURIComponent).join("/")}`;
    return new NamespaceClient(
      (path, request) => this.json(base + path, request),
      (path, request) => this.open(base + path, request),
    );
  }
}

const EVENT_PAGES_MAX = 20;

export class NamespaceClient {
  constructor(
    private readonly json: <T>(path: string, request?: Request) => Promise<T>,
    readonly open: (path: string, request?: Request) => Promise<Response>,
  ) {}

  tasks(signal?: AbortSignal): Promise<Page<Task>> {
    return this.json("/tasks?page_size=500", opt(signal));
  }

  versions(task: string, signal?: AbortSignal): Promise<Page<Version>> {
    return this.json(`/tasks/${named(task)}/versions?page_size=500`, opt(signal));
  }

  version(task: string, version: number, signal?: AbortSignal): Promise<VersionDetail> {
    return this.json(`/tasks/${named(task)}/versions/${version}`, opt(signal));
  }

  releases(task: string, token: string, signal?: AbortSignal): Promise<Page<Release>> {
    return this.json(`/releases?${query({ task, page_size: "50", page_token: token })}`, opt(signal));
  }

  release(id: string, signal?: AbortSignal): Promise<Release> {
    return this.json(`/releases/${named(id)}`, opt(signal));
  }

  curve(id: string, signal?: AbortSignal): Promise<Curve> {
    return this.json(`/releases/${named(id)}/coverage`, opt(signal));
  }

  /** The whole history, oldest first; the newest events are on the last page. */
  async releaseEvents(id: string, signal?: AbortSignal): Promise<ReleaseEvent[]> {
    const items: ReleaseEvent[] = [];
    let token = "";
    for (let page = 0; page < EVENT_PAGES_MAX; page++) {
      const asked = query({ page_size: "500", page_token: token });
      const found = await this.json<Page<ReleaseEvent>>(`/releases/${named(id)}/events?${asked}`, opt(signal));
      items.push(...found.items);
      token = found.next_page_token;
      if (!token) break;
    }
    return items;
  }

  releaseDevices(id: string, signal?: AbortSignal): Promise<Page<ReleaseDevice>> {
    return this.json(`/releases/${named(id)}/devices?page_size=500`, opt(signal));
  }

  command(
    release: Release,
    command: Command,
    reason: string,
    rollbackVersion: number | null,
  ): Promise<Release> {
    const body: Record<string, unknown> = { command, reason };
    if (rollbackVersion !== null) body.rollback_version = rollbackVersion;
    return this.json(`/releases/${named(release.id)}:command`, {
      method: "POST",
      body,
      headers: { "If-Match": `"${release.revision}"` },
    });
  }

  devices(
    filter: { status: string; id_prefix: string },
    token: string,
    signal?: AbortSignal,
  ): Promise<Page<Device>> {
    return this.json(`/devices?${query({ ...filter, page_size: "50", page_token: token })}`, opt(signal));
  }

  device(id: string, signal?: AbortSignal): Promise<Device> {
    return this.json(`/devices/${named(id)}`, opt(signal));
  }

  why(id: string, task: string, signal?: AbortSignal): Promise<Why> {
    return this.json(`/devices/${named(id)}/why?${query({ task })}`, opt(signal));
  }

  notices(device: string, signal?: AbortSignal): Promise<Page<Notice>> {
    return this.json(`/notices?${query({ device })}`, opt(signal));
  }

  killSwitches(signal?: AbortSignal): Promise<Page<KillSwitch>> {
    return this.json("/kill-switches", opt(signal));
  }

  setKill(task: string, killed: boolean, reason: string): Promise<{ epoch: number }> {
    return this.json("/kill-switches", { method: "POST", body: { task, killed, reason } });
  }
}

/** A name as one part of an address, whatever is in it: it asks for nothing else. */
function named(name: string): string {
  return encodeURIComponent(name);
}

function opt(signal: AbortSignal | undefined): Request {
  return signal === undefined ? {} : { signal };
}

function query(parameters: Record<string, string>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  return new URLSearchParams(given).toString();
}

async function failure(response: Response): Promise<ApiError> {
  try {
    const { error } = (await response.json()) as {
      error: { code: string; message: string; hint: string };
    };
    return new ApiError(response.status, error.code, error.message, error.hint);
  } catch {
    const said = `The cloud answered ${response.status} ${response.statusText}.`;
    return new ApiError(response.status, "UNKNOWN", said, "Look at the cloud's log.");
  }
}
