"""Operators' tokens: made, listed, revoked, and turned into a Caller.

Rules of this module:

- The database holds SHA-256 of a token, never the token; 256 random bits need no slow hash.
- Unknown, expired and revoked tokens get one answer, so that a guesser learns nothing.
- A token hands out no more than it has, and its audit row is in the same transaction.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.admin.caller import EVERY_NAMESPACE, Caller, Scope, parse_scopes
from cloud.admin.errors import ArgumentInvalid, NotFound, Unauthenticated
from cloud.admin.operations.lists import list_rows, require_known
from cloud.admin.operations.views import TokenOnce, TokenView
from cloud.admin.paging import Page, PageRequest
from cloud.admin.settings import AdminSettings
from cloud.store.audit import append_audit
from cloud.store.database import Database
from cloud.store.tables import api_tokens
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

TOKEN_PREFIX = "shoal_"
TOKEN_BYTES = 32
ID_CHARS = 16
ACTOR_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,127}")


def hash_token(token: str) -> str:
    """What the database holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _view(row: Mapping[str, Any]) -> TokenView:
    return TokenView(
        id=row["token_hash"][:ID_CHARS],
        actor=row["actor"],
        namespace=row["namespace"],
        scopes=tuple(sorted(row["scopes"])),
        created_at_ms=row["created_at_ms"],
        expires_at_ms=row["expires_at_ms"],
        revoked_at_ms=row["revoked_at_ms"],
    )


class TokenOperations:
    """Operators' tokens."""

    def __init__(self, database: Database, clock: Clock, settings: AdminSettings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings

    async def authenticate(self, token: str) -> Caller:
        """Finds who holds `token`.

        Raises:
            Unauthenticated: Nobody, or no longer.
        """
        query = sa.select(api_tokens).where(api_tokens.c.token_hash == hash_token(token))
        async with self._database.read() as conn:
            row = (await conn.execute(query)).mappings().one_or_none()
        now_ms = self._clock.wall_ms()
        if (
            row is None
            or row["revoked_at_ms"] is not None
            or (row["expires_at_ms"] or now_ms) < now_ms
        ):
            raise Unauthenticated(
                "this token is unknown, expired or revoked: "
                "pass a valid one, made with `shoal token create`"
            )
        return Caller(
            actor=row["actor"],
            namespace=row["namespace"],
            scopes=parse_scopes(row["scopes"]),
            expires_at_ms=row["expires_at_ms"],
        )

    async def create(
        self,
        caller: Caller,
        namespace: str,
        *,
        actor: str,
        scopes: Sequence[str],
        valid_for_s: int | None = None,
    ) -> TokenOnce:
        """Makes a token for `actor`, at most as wide as the caller's own.

        Raises:
            NamespaceUnknown: A token for nothing: it was most likely misspelt.
        """
        wanted = parse_scopes(scopes)
        caller.require_to_grant(wanted, namespace)
        if not ACTOR_PATTERN.fullmatch(actor):
            raise ArgumentInvalid("actor: 1 to 128 letters, digits or ._@+- and blanks")
        if valid_for_s is not None and not 1 <= valid_for_s <= self._settings.token_valid_s_max:
            raise ArgumentInvalid(
                f"valid_for_s {valid_for_s}: choose 1 to {self._settings.token_valid_s_max}, "
                "or leave it out for a token without end"
            )
        async with self._database.begin() as conn:
            await require_known(conn, namespace)
            created = await insert_token(
                conn, namespace, actor, wanted, self._clock.wall_ms(), valid_for_s, by=caller.actor
            )
            failpoint("admin.token.written")
        return created

    async def list(self, caller: Caller, namespace: str, page: PageRequest) -> Page[TokenView]:
        """Lists the tokens of a namespace by id."""
        caller.require(Scope.TOKEN_WRITE, namespace)
        query = sa.select(api_tokens).where(api_tokens.c.namespace == namespace)
        key = (api_tokens.c.token_hash,)
        return await list_rows(
            self._database, "tokens", query, key, page, self._settings, _view, namespace=namespace
        )

    async def revoke(self, caller: Caller, namespace: str, token_id: str) -> TokenView:
        """Ends a token now; ending it twice changes nothing."""
        caller.require(Scope.TOKEN_WRITE, namespace)
        if not re.fullmatch(r"[0-9a-f]{16}", token_id):
            raise ArgumentInvalid("token id: 16 hex digits, as `shoal token list` shows them")
        mine = sa.and_(
            api_tokens.c.namespace == namespace,
            api_tokens.c.token_hash.between(token_id, token_id + "g"),
        )
        now_ms = self._clock.wall_ms()
        async with self._database.begin() as conn:
            row = (await conn.execute(sa.select(api_tokens).where(mine))).mappings().one_or_none()
            if row is None:
                raise NotFound(f"no token {token_id} in {namespace}: `shoal token list` shows them")
            if row["revoked_at_ms"] is None:
                await conn.execute(sa.update(api_tokens).where(mine).values(revoked_at_ms=now_ms))
                await append_audit(
                    conn,
                    namespace,
                    caller.actor,
                    "token.revoke",
                    token_id,
                    {"of": row["actor"]},
                    now_ms,
                )
            return _view({**row, "revoked_at_ms": row["revoked_at_ms"] or now_ms})


async def insert_token(
    conn: AsyncConnection,
    namespace: str,
    actor: str,
    scopes: frozenset[Scope],
    now_ms: int,
    valid_for_s: int | None,
    *,
    by: str,
) -> TokenOnce:
    """Writes a new token and its audit row in the caller's transaction."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = {
        "token_hash": hash_token(token),
        "actor": actor,
        "namespace": namespace,
        "scopes": sorted(scope.value for scope in scopes),
        "created_at_ms": now_ms,
        "expires_at_ms": None if valid_for_s is None else now_ms + valid_for_s * 1000,
        "revoked_at_ms": None,
    }
    await conn.execute(sa.insert(api_tokens).values(row))
    view = _view(row)
    detail = {"for": actor, "scopes": row["scopes"], "expires_at_ms": row["expires_at_ms"]}
    await append_audit(conn, namespace, by, "token.create", view.id, detail, now_ms)
    return TokenOnce(token=token, view=view)


async def first_token(database: Database, clock: Clock, actor: str) -> TokenOnce:
    """Makes the token that everything begins with: all namespaces, all scopes, without end."""
    async with database.begin() as conn:
        return await insert_token(
            conn, EVERY_NAMESPACE, actor, frozenset({Scope.ALL}), clock.wall_ms(), None, by="setup"
        )
