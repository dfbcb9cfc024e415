"""What the agent makes of an error of gRPC: a name by whose fault it is, whatever the other side says."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from device_agent.agent.errors import PeerRefused, PeerUnreachable, ReportGap, Revoked
from device_agent.agent.grpc_link import ERROR_CODE, EXPECTED_SEQUENCE, UNREACHABLE, named_error

texts = (
    st.text(max_size=30) | st.integers().map(str) | st.sampled_from(["", "9" * 5_000, "٣", "-1"])
)
codes = st.sampled_from(list(grpc.StatusCode))


def said(status: grpc.StatusCode, **trailing: str | bytes) -> AioRpcError:
    names = {"code": ERROR_CODE, "expected": EXPECTED_SEQUENCE}
    pairs = [(names[name], value) for name, value in trailing.items()]
    return AioRpcError(status, Metadata(), Metadata(*pairs), details="the reason")


@given(codes, texts, texts | st.binary(max_size=9))
def test_every_error_has_a_name(status: grpc.StatusCode, code: str, expected: str | bytes) -> None:
    error = named_error(said(status, code=code, expected=expected))
    assert isinstance(error, PeerRefused | PeerUnreachable)
    assert status.name in str(error)


@given(codes)
def test_a_status_alone_is_the_outsides_fault_or_the_peers(status: grpc.StatusCode) -> None:
    error = named_error(said(status))
    assert isinstance(error, PeerUnreachable) == (status in UNREACHABLE)


@given(codes)
def test_a_cloud_that_names_its_error_was_reached(status: grpc.StatusCode) -> None:
    assert type(named_error(said(status, code="SYNC_INVALID"))) is PeerRefused
    assert type(named_error(said(status, code="DEVICE_REVOKED"))) is Revoked


@pytest.mark.parametrize(
    ("expected", "number"), [("1", 1), ("18446744073709551615", 2**64 - 1), ("0", 0)]
)
def test_a_gap_says_where_to_go_on(expected: str, number: int) -> None:
    error = named_error(
        said(grpc.StatusCode.FAILED_PRECONDITION, code="REPORT_GAP", expected=expected)
    )
    assert isinstance(error, ReportGap)
    assert error.expected == number


@pytest.mark.parametrize("expected", ["", "-1", "one", "1.5", "9" * 21, "9" * 5_000, "1 "])
def test_a_gap_that_says_nonsense_starts_no_new_log(expected: str) -> None:
    error = named_error(
        said(grpc.StatusCode.FAILED_PRECONDITION, code="REPORT_GAP", expected=expected)
    )
    assert type(error) is PeerRefused


def test_a_gap_that_says_nothing_is_from_the_beginning() -> None:
    error = named_error(said(grpc.StatusCode.FAILED_PRECONDITION, code="REPORT_GAP"))
    assert isinstance(error, ReportGap)
    assert error.expected == 0
