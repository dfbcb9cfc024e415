import { useEffect } from "react";
import type { Client } from "../api/client";
import { Link, navigate, pathTo } from "../routing";
import { useResource } from "../state/resource";
import { Ago, Empty, Failure, Waiting } from "../ui/parts";
import { Mark } from "../ui/shell";

export function NamespacesPage({ client, leave }: { client: Client; leave: () => void }) {
  const namespaces = useResource("namespaces", 0, (signal) => client.namespaces(signal));
  const items = namespaces.data?.items;
  const only = items?.length === 1 ? items[0] : undefined;
  useEffect(() => {
    // With one namespace there is nothing to choose.
    if (only) navigate(pathTo(only.namespace), true);
  }, [only]);
  return (
    <main className="alone">
      <div className="card login">
        <h1 className="brand">
          <Mark /> Shoal
        </h1>
        {namespaces.error && <Failure error={namespaces.error} retry={namespaces.reload} />}
        {!items && !namespaces.error && <Waiting />}
        {items?.length === 0 && (
          <Empty title="No namespace yet">
            <code>shoal cloud serve --namespace app/project</code> makes it at the start.
          </Empty>
        )}
        <ul className="choices">
          {items?.map((one) => (
            <li key={one.namespace}>
              <Link to={pathTo(one.namespace)} className="choice">
                <strong>{one.namespace}</strong>
                <span className="quiet">
                  made <Ago at={one.created_at_ms} />
                </span>
              </Link>
            </li>
          ))}
        </ul>
        <button type="button" className="text-button" onClick={leave}>
          Sign out
        </button>
      </div>
    </main>
  );
}
