// The stages of a release in a row: what each is for, which is out, when the next begins.
import type { Release } from "../api/types";
import { count, devices, part, share } from "../format";

export function StageRail({ release }: { release: Release }) {
  return (
    <ol className="rail" aria-label="Stages">
      {release.stages.map((stage, index) => {
        const counts = release.coverage.stages[index];
        const state = place(release, index);
        return (
          <li key={index} className={`rail-stage rail-${state}`} aria-current={state === "out" ? "step" : undefined}>
            <span className="rail-dot" aria-hidden="true">
              {state === "done" ? "✓" : index + 1}
            </span>
            <span className="rail-share">{share(stage.share_ppm)}</span>
            <span className="rail-line">
              {counts && state !== "ahead"
                ? `${count(counts.installed)} of ${count(counts.targeted)} installed`
                : devices(counts?.targeted ?? 0)}
            </span>
            <span className="rail-line quiet">{rule(release, index)}</span>
          </li>
        );
      })}
    </ol>
  );
}

function place(release: Release, index: number): "done" | "out" | "ahead" | "ended" {
  if (index < release.stage_index) return "done";
  if (index > release.stage_index) return "ahead";
  if (release.state === "completed") return "done";
  return release.state === "running" || release.state === "paused" ? "out" : "ended";
}

function rule(release: Release, index: number): string {
  const stage = release.stages[index];
  const last = index === release.stages.length - 1;
  if (!stage || stage.promote_at_ppm === 0) return last ? "completes when you promote" : "waits for you";
  const goal = share(stage.promote_at_ppm);
  const counts = release.coverage.stages[index];
  const now = index === release.stage_index && counts ? `, now ${part(counts.installed, counts.targeted)}` : "";
  return `${last ? "completes" : "goes on"} at ${goal}${now}`;
}
