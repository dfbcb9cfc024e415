"""`shoal explain` and `shoal doctor`: what an error means, and what stands between you and the cloud."""

import os
import sys
from importlib.metadata import version
from importlib.util import find_spec

import urllib3

from cloud.admin.cli.client import RestClient
from cloud.admin.cli.context import config_file
from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong
from cloud.admin.cli.output import utc
from cloud.admin.cli.where import HERE, Where
from cloud.admin.error_catalogue import every_error

NAMES_SHOWN_MAX = 10


def explain(code: str) -> None:
    """Say what an error code means."""
    found = every_error().get(code.upper())
    if found is None:
        near = ", ".join(sorted(name for name in every_error() if code.upper()[:4] in name)[:8])
        raise UsageWrong(
            f"no error has the code {code}" + (f"; near it are {near}" if near else "")
        )
    print(f"{found.code} (gRPC status {found.status})\n\n{found.__doc__}")


def doctor(*, where: Where = HERE) -> None:
    """Look at this installation and at the cloud, and say what is wrong with either."""
    print(f"shoal {version('shoal')}, Python {sys.version.split()[0]}")
    for module in ("device_agent.engine._core", "device_agent.vm._host"):
        print(
            f"native module {module}: {'there' if find_spec(module) else 'MISSING: build it again'}"
        )
    print(f"configuration file: {config_file(os.environ)}")
    with where.client() as client:
        print(
            f"address: {client.context.address}, namespace: {client.context.namespace or '(none)'}"
        )
        print(f"token: {'given' if client.context.token else 'NONE: set SHOAL_TOKEN'}")
        print(f"ready: {_ready(client)}")
        me = client.get("/api/v1/me")
        print(f"keys: {_keys(client)}")
    print(f"you are {me['actor']} in {me['namespace']} with {', '.join(me['scopes'])}")


def _keys(client: RestClient) -> str:
    rows = client.get("/api/v1/trust")["items"]
    ending = [
        f"{row['name']} ({row['state']}, {utc(row['expires_at_ms'])})"
        for row in rows
        if row["state"] != "ok"
    ]
    if not ending:
        by_hand = [row for row in rows if row["kind"] not in ("snapshot", "timestamp")]
        first = min(by_hand, key=lambda row: int(row["expires_at_ms"]))
        return f"good; {first['name']} is the first to expire, at {utc(first['expires_at_ms'])} UTC"
    shown = ", ".join(ending[:NAMES_SHOWN_MAX])
    return f"EXPIRING: {shown}; `shoal keys status` lists them, `shoal keys renew --due` signs anew"


def _ready(client: RestClient) -> str:
    try:
        client.get("/readyz")
    except ServerFailed as error:
        return f"NO ({error})"
    except (ServerAway, urllib3.exceptions.HTTPError) as error:
        return f"NO ({error})"
    return "yes"
