import pytest
import sqlalchemy as sa

from cloud.admin.caller import Caller, Scope
from cloud.admin.errors import ArgumentInvalid, NotFound, ScopeMissing, Unauthenticated
from cloud.admin.operations.audit import AuditOperations
from cloud.admin.operations.tokens import TokenOperations, first_token
from cloud.admin.paging import PageRequest
from cloud.admin.settings import AdminSettings
from cloud.store.database import Database
from cloud.store.namespaces import create_namespace
from cloud.store.tables import api_tokens, audit_log
from tests.helpers.manual_clock import ManualClock

NAMESPACE, OTHER = "demo/app", "other/app"
FIRST = PageRequest()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ms=1_700_000_000_000)


@pytest.fixture
def tokens(database: Database, clock: ManualClock) -> TokenOperations:
    return TokenOperations(database, clock, AdminSettings())


@pytest.fixture
async def root(database: Database, clock: ManualClock, tokens: TokenOperations) -> Caller:
    async with database.begin() as connection:
        for namespace in (NAMESPACE, OTHER):
            await create_namespace(connection, namespace, clock.wall_ms(), "root")
    made = await first_token(database, clock, "root")
    return await tokens.authenticate(made.token)


async def test_the_first_token_may_do_all(root: Caller) -> None:
    root.require(Scope.KILL_WRITE, "any/where")
    assert root.actor == "root"


async def test_a_token_comes_back_as_its_caller(tokens: TokenOperations, root: Caller) -> None:
    made = await tokens.create(root, NAMESPACE, actor="ci", scopes=["task:read"], valid_for_s=60)
    caller = await tokens.authenticate(made.token)
    assert (caller.actor, caller.namespace) == ("ci", NAMESPACE)
    assert caller.scopes == {Scope.TASK_READ}


async def test_the_database_never_holds_the_token(
    database: Database, tokens: TokenOperations, root: Caller
) -> None:
    made = await tokens.create(root, NAMESPACE, actor="ci", scopes=["task:read"])
    async with database.read() as conn:
        stored = str((await conn.execute(sa.select(api_tokens))).all())
        logged = str((await conn.execute(sa.select(audit_log))).all())
    assert made.token not in stored + logged
    assert made.view.id in logged


async def test_unknown_expired_and_revoked_tokens_get_one_answer(
    tokens: TokenOperations, root: Caller, clock: ManualClock
) -> None:
    expired = await tokens.create(root, NAMESPACE, actor="a", scopes=["*"], valid_for_s=60)
    revoked = await tokens.create(root, NAMESPACE, actor="b", scopes=["*"])
    await tokens.revoke(root, NAMESPACE, revoked.view.id)
    clock.advance_ms(60_001)
    said = set()
    for token in ("shoal_nobody", expired.token, revoked.token):
        with pytest.raises(Unauthenticated) as caught:
            await tokens.authenticate(token)
        said.add(str(caught.value))
    assert len(said) == 1


async def test_a_token_lives_until_its_last_millisecond(
    tokens: TokenOperations, root: Caller, clock: ManualClock
) -> None:
    made = await tokens.create(root, NAMESPACE, actor="a", scopes=["*"], valid_for_s=60)
    clock.advance_ms(60_000)
    await tokens.authenticate(made.token)


async def test_a_token_makes_no_wider_one(tokens: TokenOperations, root: Caller) -> None:
    made = await tokens.create(root, NAMESPACE, actor="lead", scopes=["token:write", "task:read"])
    lead = await tokens.authenticate(made.token)
    await tokens.create(lead, NAMESPACE, actor="ci", scopes=["task:read"])
    with pytest.raises(ScopeMissing):
        await tokens.create(lead, NAMESPACE, actor="ci", scopes=["task:write"])


@pytest.mark.parametrize("actor", ["", " ada", "a" * 129, "a\nb"])
async def test_actors_are_names(tokens: TokenOperations, root: Caller, actor: str) -> None:
    with pytest.raises(ArgumentInvalid, match="actor"):
        await tokens.create(root, NAMESPACE, actor=actor, scopes=["*"])


async def test_revoking_twice_is_once_and_an_unknown_one_is_not_found(
    tokens: TokenOperations, root: Caller, clock: ManualClock
) -> None:
    made = await tokens.create(root, NAMESPACE, actor="ci", scopes=["*"])
    first = await tokens.revoke(root, NAMESPACE, made.view.id)
    clock.advance_ms(5)
    assert await tokens.revoke(root, NAMESPACE, made.view.id) == first
    with pytest.raises(NotFound):
        await tokens.revoke(root, NAMESPACE, "0" * 16)
    with pytest.raises(ArgumentInvalid):
        await tokens.revoke(root, NAMESPACE, "%")


async def test_a_list_is_read_page_by_page(tokens: TokenOperations, root: Caller) -> None:
    made = {
        (await tokens.create(root, NAMESPACE, actor=f"a{n}", scopes=["*"])).view.id
        for n in range(5)
    }
    await tokens.create(root, OTHER, actor="x", scopes=["*"])
    seen: list[str] = []
    page = await tokens.list(root, NAMESPACE, PageRequest(size=2))
    while True:
        seen += [token.id for token in page.items]
        if not page.next_page_token:
            break
        page = await tokens.list(root, NAMESPACE, PageRequest(size=2, token=page.next_page_token))
    assert seen == sorted(made)


async def test_every_change_is_in_the_audit_log_and_its_chain_holds(
    database: Database, tokens: TokenOperations, root: Caller
) -> None:
    audit = AuditOperations(database, AdminSettings())
    made = await tokens.create(root, NAMESPACE, actor="ci", scopes=["*"])
    await tokens.revoke(root, NAMESPACE, made.view.id)
    rows = (await audit.list(root, NAMESPACE, FIRST)).items
    assert [(row.action, row.actor) for row in rows] == [
        ("token.revoke", "root"),
        ("token.create", "root"),
        ("namespace.create", "root"),
    ]
    report = await audit.verify(root, NAMESPACE)
    assert report.intact
    assert (report.rows, report.head) == (3, rows[0].row_hash)


async def test_a_changed_audit_row_is_found(
    database: Database, tokens: TokenOperations, root: Caller
) -> None:
    await tokens.create(root, NAMESPACE, actor="ci", scopes=["*"])
    async with database.begin() as conn:
        await conn.execute(
            sa.update(audit_log).where(audit_log.c.namespace == NAMESPACE).values(actor="mallory")
        )
    report = await AuditOperations(database, AdminSettings()).verify(root, NAMESPACE)
    assert not report.intact
    assert NAMESPACE in report.message
