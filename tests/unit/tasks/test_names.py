"""Names: what is accepted, what is refused and with what words."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import (
    Namespace,
    check_device_id,
    check_digest,
    check_release_id,
    check_task_name,
    check_topic,
    device_id_of,
    digest_hex,
    new_release_id,
    parse_target_path,
    sha256_digest,
    target_path,
)

DIGEST = sha256_digest(b"x")


def test_a_namespace_is_two_segments() -> None:
    namespace = Namespace.parse("demo/digits-app")
    assert (namespace.app, namespace.project) == ("demo", "digits-app")
    assert (str(namespace), namespace.dotted) == ("demo/digits-app", "demo.digits-app")


@pytest.mark.parametrize(
    "text",
    ["", "demo", "a/b/c", "A/b", "a/", "/b", "a/1b", "a/b\n", "a/b_c", "é/b", "a/" + "b" * 64],
)
def test_what_is_no_namespace_is_refused(text: str) -> None:
    with pytest.raises(NameInvalid):
        Namespace.parse(text)


@pytest.mark.parametrize("check", [check_task_name, check_topic])
def test_task_names_and_topics_are_segments(check: type[str]) -> None:
    assert check("a" + "b" * 62) == "a" + "b" * 62
    for text in ("", "A", "a b", "-a", "a" * 64, "a\n", "../a"):
        with pytest.raises(NameInvalid, match="starts with a letter"):
            check(text)


def test_digests_and_device_ids() -> None:
    assert check_digest(DIGEST) == DIGEST
    assert digest_hex(DIGEST) == hashlib.sha256(b"x").hexdigest()
    assert check_device_id(device_id_of(b"key")) == hashlib.sha256(b"key").hexdigest()[:32]
    for text in ("sha256:", DIGEST.upper(), DIGEST + "0", DIGEST + "\n", DIGEST[7:]):
        with pytest.raises(NameInvalid):
            check_digest(text)
    for text in ("", "g" * 32, "a" * 31):
        with pytest.raises(NameInvalid):
            check_device_id(text)


@given(
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
    st.tuples(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10)),
)
def test_release_ids_sort_by_time(a: tuple[int, bytes], b: tuple[int, bytes]) -> None:
    first, second = new_release_id(*a), new_release_id(*b)
    assert check_release_id(first) == first
    assert (first < second) == (a < b)


def test_what_is_no_release_id_is_refused() -> None:
    for text in ("", "r", "r" + "z" * 26, "x" + "0" * 26, "r" + "0" * 25 + "u"):
        with pytest.raises(NameInvalid):
            check_release_id(text)
    with pytest.raises(ValueError, match="entropy"):
        new_release_id(0, b"short")


def test_target_paths_round_trip() -> None:
    path = target_path(Namespace("demo", "app"), "digits", 3, DIGEST)
    assert path == f"demo/app/digits/3/{DIGEST[7:]}"
    parsed = parse_target_path(path)
    assert (str(parsed), parsed.task, parsed.version, parsed.digest) == (path, "digits", 3, DIGEST)


@pytest.mark.parametrize("version", ["0", "03", "x", "-1", "1e3", "9999999999"])
def test_what_is_no_target_path_is_refused(version: str) -> None:
    for path in (f"demo/app/digits/{version}/{DIGEST[7:]}", f"demo/app/digits/{DIGEST[7:]}"):
        with pytest.raises(NameInvalid, match="target path"):
            parse_target_path(path)
