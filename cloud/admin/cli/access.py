"""`shoal token …`, `shoal audit …`: who may do what, and who did."""

from itertools import islice
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli.client import named
from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import Column, field, pairs_field, show, show_rows, time_field
from cloud.admin.cli.where import HERE, Where

tokens = App(name="token", help="API tokens of people and services.")
audit = App(name="audit", help="The log of every change.")

TOKEN_COLUMNS = (
    field("TOKEN", "id"),
    field("ACTOR", "actor"),
    Column(
        "SCOPES",
        lambda row: " ".join(map(str, row["scopes"])) if isinstance(row["scopes"], list) else "",
    ),
    time_field("EXPIRES (UTC)", "expires_at_ms"),
    time_field("REVOKED (UTC)", "revoked_at_ms"),
)
AUDIT_COLUMNS = (
    field("ROW", "id"),
    time_field("AT (UTC)", "at_ms"),
    field("ACTOR", "actor"),
    field("ACTION", "action"),
    field("OBJECT", "object"),
    pairs_field("DETAIL", "detail"),
)


@tokens.command
def create(
    actor: str,
    *,
    scope: Annotated[list[str], Parameter(help='e.g. release:write; may repeat, "*" is all')],
    valid_for_s: Annotated[
        int, Parameter(name="--valid-for", help="seconds; 0 does not expire")
    ] = 0,
    where: Where = HERE,
) -> None:
    """Make a token; it is printed once."""
    body: dict[str, object] = {"actor": actor, "scopes": scope}
    if valid_for_s:
        body["valid_for_s"] = valid_for_s
    with where.client() as client:
        found = client.post(client.context.path("/tokens"), body)
    show(found, where.output, str(found["token"]))


@tokens.command(name="list")
def list_tokens(*, where: Where = HERE) -> None:
    """Tokens of the namespace; their secrets are not kept."""
    with where.client() as client:
        show_rows(client.items(client.context.path("/tokens")), TOKEN_COLUMNS, where.output)


@tokens.command
def revoke(token_id: str, *, where: Where = HERE) -> None:
    """Refuse a token from now on."""
    with where.client() as client:
        found = client.post(client.context.path(f"/tokens/{named(token_id)}:revoke"), {})
    show(found, where.output, f"{token_id} is revoked")


@audit.command(name="list")
def list_audit(*, limit: int = 50, where: Where = HERE) -> None:
    """Newest changes first."""
    if limit < 1:
        raise UsageWrong("--limit is at least 1")
    with where.client() as client:
        rows = client.items(client.context.path("/audit"), page_size=min(limit, 500))
        show_rows(islice(rows, limit), AUDIT_COLUMNS, where.output)


@audit.command
def verify(*, where: Where = HERE) -> None:
    """Check the hash chain of the log."""
    with where.client() as client:
        found = client.get(client.context.path("/audit:verify"))
    show(
        found,
        where.output,
        f"{found['rows']} rows, {'intact' if found['intact'] else found['message']}",
    )
