// From the address to a page: who is looking, at which namespace, at what.
import { useCallback, useEffect, useMemo, useState } from "react";
import { Client } from "./api/client";
import type { Me } from "./api/types";
import { DevicePage } from "./pages/device";
import { DevicesPage } from "./pages/devices";
import { LoginPage } from "./pages/login";
import { NamespacesPage } from "./pages/namespaces";
import { OverviewPage } from "./pages/overview";
import { ReleasePage } from "./pages/release";
import { ReleasesPage } from "./pages/releases";
import { StopPage } from "./pages/stop";
import { TaskPage } from "./pages/task";
import { TasksPage } from "./pages/tasks";
import { Link, pathTo, type Route, useRoute } from "./routing";
import { PlaceContext } from "./state/context";
import { LiveStore } from "./state/live";
import { useResource } from "./state/resource";
import { adoptToken, forgetToken, keepToken } from "./state/session";
import { Boundary } from "./ui/boundary";
import { Empty, Failure, Page, Waiting } from "./ui/parts";
import { Shell } from "./ui/shell";

export function App() {
  const [token, setToken] = useState(adoptToken);
  const [refused, setRefused] = useState(false);
  const leave = useCallback((wasRefused: boolean) => {
    forgetToken();
    setRefused(wasRefused);
    setToken("");
  }, []);
  useEffect(() => {
    // A login link that is opened in a tab that already shows the console.
    const adopt = () => location.hash.includes("token=") && setToken(adoptToken());
    addEventListener("hashchange", adopt);
    return () => removeEventListener("hashchange", adopt);
  }, []);
  const client = useMemo(() => new Client(token, () => leave(true)), [token, leave]);
  if (!token) {
    return (
      <LoginPage
        refused={refused}
        enter={(given) => {
          keepToken(given);
          setToken(given);
        }}
      />
    );
  }
  return <Inside client={client} token={token} leave={() => leave(false)} />;
}

function Inside({ client, token, leave }: { client: Client; token: string; leave: () => void }) {
  const route = useRoute();
  const me = useResource(token, 0, (signal) => client.me(signal));
  if (me.error) return <div className="alone">{<Failure error={me.error} retry={me.reload} />}</div>;
  if (!me.data) return <div className="alone">{<Waiting />}</div>;
  if (!route.namespace) return <NamespacesPage client={client} leave={leave} />;
  return <InNamespace key={route.namespace} client={client} me={me.data} route={route} leave={leave} />;
}

function InNamespace(props: { client: Client; me: Me; route: Route; leave: () => void }) {
  const { client, me, route } = props;
  const place = useMemo(() => {
    const here = client.in(route.namespace);
    return { namespace: route.namespace, client: here, live: new LiveStore(here), me };
  }, [client, me, route.namespace]);
  useEffect(() => place.live.start(), [place]);
  useEffect(() => {
    const what = [route.id || route.page, route.namespace, "Shoal"];
    document.title = what.join(" · ");
  }, [route.id, route.page, route.namespace]);
  return (
    <PlaceContext value={place}>
      <Shell route={route} leave={props.leave}>
        <Boundary where={`${route.page}/${route.id}`}>
          <Switch route={route} />
        </Boundary>
      </Shell>
    </PlaceContext>
  );
}

function Switch({ route }: { route: Route }) {
  switch (route.page) {
    case "overview":
      return <OverviewPage />;
    case "releases":
      return route.id ? <ReleasePage key={route.id} id={route.id} /> : <ReleasesPage />;
    case "tasks":
      return route.id ? <TaskPage key={route.id} task={route.id} /> : <TasksPage />;
    case "devices":
      return route.id ? <DevicePage key={route.id} id={route.id} /> : <DevicesPage />;
    case "stop":
      return <StopPage />;
    default:
      return (
        <Page title="Nothing here">
          <Empty title="This address leads nowhere.">
            <Link to={pathTo(route.namespace)}>To the overview</Link>
          </Empty>
        </Page>
      );
  }
}
