// Asks for a reason before something happens; Enter does it, Escape leaves it.
import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { type ApiError, told } from "../api/client";
import { Failure } from "./parts";

interface Props {
  title: string;
  /** What will happen, and to how many. */
  children: ReactNode;
  action: string;
  grave?: boolean;
  reasonNeeded?: boolean;
  perform: (reason: string) => Promise<void>;
  close: () => void;
}

export function ReasonDialog(props: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const title = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
    field.current?.focus();
  }, []);

  // Enter sends a form whose button is disabled, too: what is on its way is not sent a second time.
  const sending = useRef(false);

  async function submit() {
    if (sending.current) return;
    sending.current = true;
    setBusy(true);
    setError(null);
    try {
      await props.perform(reason.trim());
      dialog.current?.close();
    } catch (failed) {
      setError(told(failed));
      setBusy(false);
      sending.current = false;
    }
  }

  return (
    <dialog ref={dialog} className="dialog" aria-labelledby={title} onClose={props.close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <h2 id={title}>{props.title}</h2>
        <div className="dialog-text">{props.children}</div>
        <label className="field">
          <span>
            Reason{!props.reasonNeeded && <span className="quiet"> · optional, kept in the audit log</span>}
          </span>
          <textarea
            ref={field}
            rows={2}
            maxLength={1024}
            value={reason}
            required={props.reasonNeeded}
            onChange={(event) => setReason(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
              event.preventDefault();
              event.currentTarget.form?.requestSubmit();
            }}
          />
        </label>
        {error && <Failure error={error} />}
        <div className="dialog-buttons">
          <button type="button" className="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" className={props.grave ? "button grave" : "button primary"} disabled={busy}>
            {props.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
