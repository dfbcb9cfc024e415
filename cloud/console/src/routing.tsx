// Addresses: /console/{app}/{project}/{page}/{id}. Every page has one, so that it can be sent to somebody.
import { type ReactNode, useSyncExternalStore } from "react";

const BASE = "/console";

export interface Route {
  namespace: string;
  page: string;
  id: string;
}

export function parseRoute(path: string): Route {
  const parts = path.slice(BASE.length).split("/").filter(Boolean).map(decoded);
  const [app = "", project = "", page = "", id = ""] = parts;
  return { namespace: app && project ? `${app}/${project}` : "", page: page || "overview", id };
}

/** A part of the address; one that is no percent-encoding stands for itself, so that a typing error is no blank page. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function pathTo(namespace: string, page = "", id = ""): string {
  return [BASE, namespace, page, encodeURIComponent(id)].filter(Boolean).join("/");
}

export function navigate(path: string, replace = false): void {
  if (replace) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  scrollTo(0, 0);
}

export function useRoute(): Route {
  const path = useSyncExternalStore(
    (listener) => {
      addEventListener("popstate", listener);
      return () => removeEventListener("popstate", listener);
    },
    () => location.pathname,
  );
  return parseRoute(path);
}

interface LinkProps {
  to: string;
  children: ReactNode;
  className?: string | undefined;
  current?: boolean;
}

/** A link that stays on the page; a middle click or a modifier still opens a tab. */
export function Link({ to, children, className, current }: LinkProps) {
  return (
    <a
      href={to}
      className={className}
      aria-current={current ? "page" : undefined}
      onClick={(event) => {
        if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        navigate(to);
      }}
    >
      {children}
    </a>
  );
}
