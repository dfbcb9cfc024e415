"""What a device makes of a cloud's answers at enrolment and renewal: an identity, or a named error and no change."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from device_agent.tasks.enrol import EnrolmentCode, fetch_server_time, renew
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.fetch import HttpFetcher, check_address
from device_agent.tasks.identity import IDENTITY_FILE, Identity
from device_agent.tasks.trust_errors import (
    CloudUntrusted,
    EnrolmentCodeInvalid,
    EnrolmentFailed,
    LinkBroken,
    TrustError,
)
from tests.helpers.device_identity import enrolled_home
from tests.helpers.memory_fetcher import Answer, Ask, MemoryFetcher

GOOD = EnrolmentCode(url="https://x:1", namespace="a/b", token="t", ca_sha256="0" * 64)
json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
answers = st.dictionaries(
    st.sampled_from(["certificate", "sync_address", "now_ms", "error", "tuf_root"]),
    json_values,
    max_size=5,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enrolled_home(tmp_path_factory.mktemp("device"))


def cloud(renewal: object, status: int = 200, now: object = 1) -> Callable[[Ask], Answer]:
    def answer(ask: Ask) -> Answer:
        if ask.path == "/v1/time":
            return Answer(200, json.dumps({"now_ms": now}).encode())
        return Answer(status, json.dumps(renewal).encode())

    return answer


@pytest.mark.slow
@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(answer=answers, status=st.sampled_from([200, 200, 200, 400, 403, 500]))
def test_whatever_a_renewal_is_answered_the_identity_stays_or_the_error_has_a_name(
    home: Path, answer: dict[str, object], status: int
) -> None:
    folder = home / "identity"
    identity = Identity.load(folder)
    assert identity is not None
    before = (folder / IDENTITY_FILE).read_bytes()
    with pytest.raises((EnrolmentFailed, CloudUntrusted)):
        renew(MemoryFetcher(cloud(answer, status)), identity, folder)
    assert (folder / IDENTITY_FILE).read_bytes() == before
    assert Identity.load(folder) == identity


@pytest.mark.parametrize("field", ["certificate", "sync_address"])
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_character_is_no_text(home: Path, field: str, text: str) -> None:
    """JSON may hold it, a file may not: the agent must not end by it at its next renewal."""
    identity = Identity.load(home / "identity")
    assert identity is not None
    answer = {
        "certificate": identity.certificate_pem.decode(),
        "sync_address": identity.sync_address,
    }
    assert renew(MemoryFetcher(cloud(answer)), identity, home / "identity") == identity
    with pytest.raises(EnrolmentFailed, match=field):
        renew(MemoryFetcher(cloud(answer | {field: text})), identity, home / "identity")


@pytest.mark.parametrize("now", [None, "1", 1.5, [], {}])
def test_a_time_that_is_none_is_named(now: object) -> None:
    with pytest.raises(EnrolmentFailed, match="time cannot be read"):
        fetch_server_time(MemoryFetcher(cloud({}, now=now)))


def test_a_refusal_keeps_the_clouds_reason(home: Path) -> None:
    identity = Identity.load(home / "identity")
    assert identity is not None
    said = {"error": {"code": "DEVICE_REVOKED", "message": "revoked yesterday"}}
    with pytest.raises(EnrolmentFailed, match="revoked yesterday") as caught:
        renew(MemoryFetcher(cloud(said, 403)), identity, home / "identity")
    assert caught.value.reason_code == "DEVICE_REVOKED"


def test_an_answer_without_end_is_cut(home: Path) -> None:
    identity = Identity.load(home / "identity")
    assert identity is not None

    def endless(ask: Ask) -> Answer:
        del ask
        return Answer(200, iter(lambda: b" " * 100_000, b""))

    with pytest.raises(EnrolmentFailed, match="too long"):
        renew(MemoryFetcher(endless), identity, home / "identity")


# --- enrolment codes and addresses ------------------------------------------------------------------------------

ADDRESSES = [
    "http://x:1",
    "https://",
    "https://:1",
    "https://[::1",
    "https://x:port",
    "https://x:99999",
    "https://x:1/path",
    "https://x:1?q=1",
    "ftp://x",
    "",
    "x:1",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_that_leads_nowhere_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|URL|[Pp]ort"):
        check_address(url)
    with pytest.raises(EnrolmentCodeInvalid, match="copy the whole line"):
        EnrolmentCode.parse(
            str(EnrolmentCode(url=url, namespace="a/b", token="t", ca_sha256="0" * 64))
        )


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://x", ("x", 443)),
        ("https://x:8443", ("x", 8443)),
        ("https://x:8443/", ("x", 8443)),
        ("https://[::1]:9", ("::1", 9)),
        ("https://127.0.0.1:1", ("127.0.0.1", 1)),
    ],
)
def test_an_address_has_a_host_and_a_port(url: str, place: tuple[str, int]) -> None:
    assert check_address(url) == place
    code = EnrolmentCode(url=url, namespace="a/b", token="t", ca_sha256="0" * 64)
    assert EnrolmentCode.parse(f"  {code}\n") == code


@pytest.mark.parametrize(
    "fingerprint",
    ["", "0" * 63, "0" * 65, "A" * 64, "0 " * 64, "g" * 64, " " + "0" * 64, "0" * 64 + "\n"],
)
def test_a_fingerprint_has_one_form(fingerprint: str) -> None:
    """The form that it is compared in: another would only fail later, as a cloud that cannot be trusted."""
    code = EnrolmentCode(url="https://x:1", namespace="a/b", token="t", ca_sha256=fingerprint)
    with pytest.raises(EnrolmentCodeInvalid):
        EnrolmentCode.parse(str(code))


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_code_or_none(text: str) -> None:
    with pytest.raises(EnrolmentCodeInvalid):
        EnrolmentCode.parse(text)


@given(st.integers(0, len(str(GOOD)) - 1), st.sampled_from("aA0_-=. "))
def test_a_code_with_a_typing_error_is_another_or_none(place: int, char: str) -> None:
    text = str(GOOD)[:place] + char + str(GOOD)[place + 1 :]
    try:
        code = EnrolmentCode.parse(text)
    except EnrolmentCodeInvalid:
        return
    assert code != GOOD or text.strip() == str(GOOD) or str(code) == str(GOOD)


def test_a_link_to_nobody_is_broken_and_named() -> None:
    fetcher = HttpFetcher("https://127.0.0.1:1", None)
    with pytest.raises(LinkBroken, match="no answer from"), fetcher.request("GET", "/v1/ca"):
        raise AssertionError("somebody answered")
    fetcher.close()
    assert issubclass(LinkBroken, TrustError)
    assert not issubclass(LinkBroken, NameInvalid)
