// Something that is fetched: loading, there, or failed; the old answer stays visible while a new one is on its way.
import { useCallback, useEffect, useRef, useState } from "react";
import { type ApiError, told } from "../api/client";

export interface Resource<T> {
  data: T | null;
  error: ApiError | null;
  reload: () => void;
}

/** Fetches when `key` changes, from scratch, and when `version` changes, keeping what is shown. */
export function useResource<T>(
  key: string,
  version: unknown,
  fetcher: (signal: AbortSignal) => Promise<T>,
): Resource<T> {
  const [held, setHeld] = useState<{ key: string; data: T | null; error: ApiError | null }>({
    key,
    data: null,
    error: null,
  });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const ending = new AbortController();
    fetcher(ending.signal).then(
      (data) => !ending.signal.aborted && setHeld({ key, data, error: null }),
      (error: unknown) => {
        if (ending.signal.aborted) return;
        setHeld((before) => ({ key, data: before.key === key ? before.data : null, error: told(error) }));
      },
    );
    return () => ending.abort();
    // The fetcher is made anew at every render; key and version say when it means something else.
  }, [key, version, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  const current = held.key === key ? held : { data: null, error: null };
  return { data: current.data, error: current.error, reload };
}

/**
 * A value that follows another, at most every `ms`: fetches hang on it, so that a busy release does not flood. One that
 * changes all the time is followed all the same: the wait begins with the first change and not anew with each.
 */
export function usePaced<T>(value: T, ms: number): T {
  const [paced, setPaced] = useState(value);
  const newest = useRef(value);
  const behind = !Object.is(paced, value);
  useEffect(() => {
    newest.current = value;
  }, [value]);
  useEffect(() => {
    if (!behind) return undefined;
    const timer = setTimeout(() => setPaced(newest.current), ms);
    return () => clearTimeout(timer);
  }, [behind, ms]);
  return paced;
}
