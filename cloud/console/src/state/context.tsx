// What every page of a namespace needs: its client, its live state, and what the visitor may do.
import { createContext, useContext, useEffect, useState } from "react";
import type { NamespaceClient } from "../api/client";
import type { Me } from "../api/types";
import { type LiveState, type LiveStore, useLive } from "./live";

export interface Place {
  namespace: string;
  client: NamespaceClient;
  live: LiveStore;
  me: Me;
}

export const PlaceContext = createContext<Place | null>(null);

export function usePlace(): Place {
  const place = useContext(PlaceContext);
  if (!place) throw new Error("a page outside a namespace");
  return place;
}

export function useLiveHere(): LiveState {
  return useLive(usePlace().live);
}

export function may(me: Me, scope: string): boolean {
  return me.scopes.includes("*") || me.scopes.includes(scope);
}

/** The time, renewed often enough for "3 min ago". */
export function useNow(everyMs = 5_000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
