import pytest

from cloud.admin.caller import Caller, Scope, parse_scopes
from cloud.admin.errors import ArgumentInvalid, NamespaceForbidden, ScopeMissing


def caller(*scopes: Scope, namespace: str = "demo/app") -> Caller:
    return Caller(actor="ada", namespace=namespace, scopes=frozenset(scopes))


def test_a_scope_lets_pass_only_in_the_namespace_of_the_token() -> None:
    caller(Scope.TASK_READ).require(Scope.TASK_READ, "demo/app")
    with pytest.raises(NamespaceForbidden, match="demo/app"):
        caller(Scope.TASK_READ).require(Scope.TASK_READ, "other/app")


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(ScopeMissing, match="release:write"):
        caller(Scope.RELEASE_READ).require(Scope.RELEASE_WRITE, "demo/app")


def test_star_is_every_scope_and_every_namespace() -> None:
    for scope in Scope:
        caller(Scope.ALL, namespace="*").require(scope, "any/where")


def test_nobody_hands_out_more_than_they_have() -> None:
    giver = caller(Scope.TOKEN_WRITE, Scope.TASK_READ)
    giver.require_to_grant(frozenset({Scope.TASK_READ}), "demo/app")
    with pytest.raises(ScopeMissing, match="kill:write"):
        giver.require_to_grant(frozenset({Scope.KILL_WRITE}), "demo/app")
    with pytest.raises(ScopeMissing, match=r"\*"):
        giver.require_to_grant(frozenset({Scope.ALL}), "demo/app")


def test_scopes_are_read_by_name() -> None:
    assert parse_scopes(["task:read", "*"]) == {Scope.TASK_READ, Scope.ALL}


@pytest.mark.parametrize("names", [[], ["task:eat"], ["task:read", ""]])
def test_unknown_or_no_scopes_are_refused_with_the_list(names: list[str]) -> None:
    with pytest.raises(ArgumentInvalid, match="audit:read"):
        parse_scopes(names)
