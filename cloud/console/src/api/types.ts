// What the REST API answers; kept beside cloud/admin/operations/views.py, whose names these are.

export interface Page<T> {
  items: T[];
  next_page_token: string;
}

export interface Me {
  actor: string;
  namespace: string;
  scopes: string[];
  expires_at_ms: number | null;
}

export interface Namespace {
  namespace: string;
  epoch: number;
  created_at_ms: number;
}

export interface Counts {
  targeted: number;
  notified: number;
  installed: number;
  failed: number;
}

export interface Coverage extends Counts {
  /** The same for each stage, as if it were out. */
  stages: Counts[];
}

export interface Stage {
  share_ppm: number;
  promote_at_ppm: number;
}

export type ReleaseState =
  | "draft"
  | "running"
  | "paused"
  | "completed"
  | "aborted"
  | "rolled_back"
  | "superseded";

export type Command = "start" | "pause" | "resume" | "promote" | "abort" | "roll_back";

export interface Release {
  id: string;
  task: string;
  version: number;
  state: ReleaseState;
  targeting: { attributes: Record<string, string> };
  stages: Stage[];
  stage_index: number;
  coverage: Coverage;
  rollback_version: number;
  traceparent: string;
  created_at_ms: number;
  created_by: string;
  started_at_ms: number | null;
  revision: number;
}

export interface CurvePoint {
  at_ms: number;
  notified: number;
  installed: number;
  failed: number;
}

export interface Curve {
  release_id: string;
  coverage: Coverage;
  points: CurvePoint[];
  installed_p50_ms: number | null;
  installed_p99_ms: number | null;
}

export interface ReleaseEvent {
  revision: number;
  at_ms: number;
  actor: string;
  event: { type: string; command?: Command; reason?: string; by?: string };
  state: ReleaseState;
  stage_index: number;
  message: string;
}

export interface ReleaseDevice {
  device_id: string;
  outcome: string;
  error_code: string;
  notified_at_ms: number | null;
  installed_at_ms: number | null;
  updated_at_ms: number;
}

export type DeviceStatus = "online" | "stale" | "offline" | "revoked";

export interface Installed {
  version: number;
  digest: string;
  state: string;
}

export interface Device {
  id: string;
  status: DeviceStatus;
  attributes: Record<string, string>;
  facts: Record<string, unknown>;
  installed: Record<string, Installed>;
  epoch: number;
  enrolled_at_ms: number;
  last_seen_at_ms: number | null;
  revoked_at_ms: number | null;
  certificate_expires_at_ms: number;
}

export interface Why {
  device_id: string;
  task: string;
  decision: string;
  releases: {
    release_id: string;
    state: ReleaseState;
    included: boolean;
    decides: boolean;
    reason: string;
  }[];
}

export interface Task {
  name: string;
  latest_version: number;
  digest: string;
  created_at_ms: number;
  created_by: string;
  published_at_ms: number | null;
  published_by: string;
}

export interface Version {
  task: string;
  version: number;
  digest: string;
  state: string;
  source_commit: string;
  created_at_ms: number;
  created_by: string;
  published_at_ms: number | null;
}

export interface VersionDetail extends Version {
  manifest: Record<string, unknown>;
  files: { kind: string; path: string; python_tag: string; digest: string; size: number; scope: string }[];
}

export interface Notice {
  id: number;
  device_id: string;
  at_ms: number;
  code: string;
  message: string;
}

export interface KillSwitch {
  task: string;
  set_at_ms: number;
  set_by: string;
  reason: string;
}

export interface Overview {
  namespace: string;
  epoch: number;
  now_ms: number;
  devices: { total: number; online: number; stale: number; offline: number; revoked: number };
  versions: { task: string; version: number; devices: number }[];
  releases: Release[];
  runs: { task: string; version: number; outcome: string; runs: number; wall_us: number }[];
  kill: { all: boolean; tasks: string[] };
  notices: number;
}
