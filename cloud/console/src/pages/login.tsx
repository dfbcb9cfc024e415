import { useState } from "react";
import { Mark } from "../ui/shell";

export function LoginPage({ refused, enter }: { refused: boolean; enter: (token: string) => void }) {
  const [token, setToken] = useState("");
  return (
    <main className="alone">
      <form
        className="card login"
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) enter(token.trim());
        }}
      >
        <h1 className="brand">
          <Mark /> Shoal
        </h1>
        {refused && (
          <p className="failure" role="alert">
            The cloud refused the token: it is wrong, expired or revoked.
          </p>
        )}
        <label className="field">
          <span>Access token</span>
          <input
            type="password"
            autoComplete="off"
            spellCheck={false}
            autoFocus
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        <button type="submit" className="button primary wide" disabled={!token.trim()}>
          Sign in
        </button>
        <p className="quiet">
          A cloud says at its first start where the owner's token lies; <code>shoal token create</code> makes others. It
          is kept for this tab only.
        </p>
      </form>
    </main>
  );
}
