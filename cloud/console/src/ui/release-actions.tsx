// What an operator can tell a release, each with what it would do to how many devices.
import { type ReactNode, useState } from "react";
import type { Command, Release, ReleaseState } from "../api/types";
import { devices, share } from "../format";
import { may, usePlace } from "../state/context";
import { useResource } from "../state/resource";
import { ReasonDialog } from "./dialog";

// The same table as ALLOWED in cloud/rollout/machine.py, in the order of the buttons.
const ALLOWED: Record<ReleaseState, Command[]> = {
  draft: ["start", "abort"],
  running: ["pause", "promote", "roll_back", "abort"],
  paused: ["resume", "roll_back", "abort"],
  completed: ["roll_back"],
  aborted: ["roll_back"],
  rolled_back: [],
  superseded: [],
};
const WORDS: Record<Command, string> = {
  start: "Start",
  pause: "Pause",
  resume: "Resume",
  promote: "Promote",
  abort: "Abort",
  roll_back: "Roll back",
};
const LOOKS: Partial<Record<Command, string>> = {
  start: "primary",
  resume: "primary",
  abort: "grave-text",
  roll_back: "grave-text",
};

export function ReleaseActions({ release }: { release: Release }) {
  const { me } = usePlace();
  const [asked, setAsked] = useState<Command | null>(null);
  if (!may(me, "release:write")) return null;
  return (
    <div className="actions" role="group" aria-label="Commands">
      {ALLOWED[release.state].map((command) => (
        <button
          key={command}
          type="button"
          className={`button ${LOOKS[command] ?? ""}`}
          data-command={command}
          onClick={() => setAsked(command)}
        >
          {WORDS[command]}
        </button>
      ))}
      {asked && <CommandDialog release={release} command={asked} close={() => setAsked(null)} />}
    </div>
  );
}

function CommandDialog(props: { release: Release; command: Command; close: () => void }) {
  const { release, command } = props;
  const { client, live } = usePlace();
  const [target, setTarget] = useState(release.rollback_version);
  const rollsBack = command === "roll_back";
  return (
    <ReasonDialog
      title={`${WORDS[command]} ${release.task} version ${release.version}?`}
      action={WORDS[command]}
      grave={rollsBack || command === "abort"}
      close={props.close}
      perform={async (reason) =>
        live.put(await client.command(release, command, reason, rollsBack ? target : null))
      }
    >
      <p>{preview(release, command, target)}</p>
      {rollsBack && <VersionChoice release={release} value={target} choose={setTarget} />}
    </ReasonDialog>
  );
}

function VersionChoice(props: { release: Release; value: number; choose: (version: number) => void }) {
  const { client } = usePlace();
  const { task, version } = props.release;
  const versions = useResource(task, 0, (signal) => client.versions(task, signal));
  const others = (versions.data?.items ?? []).filter(
    (one) => one.state === "published" && one.version !== version,
  );
  return (
    <label className="field">
      <span>Return to</span>
      <select value={props.value} onChange={(event) => props.choose(Number(event.target.value))}>
        {others.map((one) => (
          <option key={one.version} value={one.version}>
            Version {one.version}
          </option>
        ))}
        {props.value > 0 && !others.some((one) => one.version === props.value) && (
          <option value={props.value}>Version {props.value}</option>
        )}
        <option value={0}>None: remove the task</option>
      </select>
    </label>
  );
}

/** What the command would do, as of the counts that are shown. */
export function preview(release: Release, command: Command, rollbackVersion: number): ReactNode {
  const { coverage, stages, stage_index } = release;
  const open = Math.max(0, coverage.targeted - coverage.installed);
  const next = stages[stage_index + 1];
  const joining = (coverage.stages[stage_index + 1]?.targeted ?? 0) - coverage.targeted;
  switch (command) {
    case "start":
      return (
        <>
          Affects <b>{devices(coverage.stages[0]?.targeted ?? 0)}</b>: stage 1 offers it to{" "}
          {share(stages[0]?.share_ppm ?? 0)} of those that match.
        </>
      );
    case "promote":
      return next ? (
        <>
          Affects <b>{devices(Math.max(0, joining))}</b> that join with stage {stage_index + 2},{" "}
          {share(next.share_ppm)} of those that match.
        </>
      ) : (
        <>
          Affects <b>no more devices</b>: this was the last stage, and the release is completed. Devices that come
          later get it too.
        </>
      );
    case "pause":
      return (
        <>
          Affects <b>{devices(open)}</b> that do not have it yet and will wait. {devices(coverage.installed)} keep it.
        </>
      );
    case "resume":
      return (
        <>
          Affects <b>{devices(open)}</b> of this stage that do not have it yet and will be offered it again.
        </>
      );
    case "abort":
      return release.state === "draft" ? (
        <>
          Affects <b>no devices</b>: it was never started.
        </>
      ) : (
        <>
          Affects <b>{devices(open)}</b> that will not get it any more. {devices(coverage.installed)} keep it. This
          release cannot be taken up again.
        </>
      );
    case "roll_back":
      return (
        <>
          Affects <b>{devices(coverage.installed)}</b> that hold version {release.version}:{" "}
          {rollbackVersion ? `they return to version ${rollbackVersion}` : "the task is removed from them"}. This
          release cannot be taken up again.
        </>
      );
  }
}
