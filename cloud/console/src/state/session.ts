// Who is looking: the token, kept for this tab only and never in a query string.

const KEY = "shoal.token";

/** Takes the token of a login link (`#token=…`) out of the address, so that it is in no history and no bookmark. */
export function adoptToken(): string {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}
