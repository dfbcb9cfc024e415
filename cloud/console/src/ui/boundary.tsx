// A page that fails says so, and leaves the rest of the console usable.
import { Component, type ReactNode } from "react";

interface Props {
  /** Another place: the failure is forgotten. */
  where: string;
  children: ReactNode;
}

export class Boundary extends Component<Props, { failed: string; where: string }> {
  override state = { failed: "", where: this.props.where };

  static getDerivedStateFromError(error: unknown) {
    return { failed: error instanceof Error ? error.message : String(error) };
  }

  static getDerivedStateFromProps({ where }: Props, state: { where: string }) {
    return where === state.where ? null : { failed: "", where };
  }

  override render() {
    if (!this.state.failed) return this.props.children;
    return (
      <main id="main" className="page" tabIndex={-1}>
        <div className="failure" role="alert">
          <div>
            <strong>This page failed.</strong>
            <p>Load it again; when it fails again, report what stands here.</p>
            <code>{this.state.failed}</code>
          </div>
          <button type="button" className="button" onClick={() => location.reload()}>
            Load again
          </button>
        </div>
      </main>
    );
  }
}
