"""Targeting: what it matches, what it refuses, and that the compiled matcher agrees with the plain one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shoal.identity.v1.identity_pb2 import DeviceFacts

from cloud.targeting.attributes import device_attributes, stored_attributes
from cloud.targeting.errors import TargetingInvalid
from cloud.targeting.settings import TargetingSettings
from cloud.targeting.targeting import Targeting, compile_matcher, matches

# Few names and values, so that equal ones meet.
ATTRIBUTES = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@given(wanted=ATTRIBUTES, device=ATTRIBUTES)
def test_every_named_attribute_must_be_equal(
    wanted: dict[str, str], device: dict[str, str]
) -> None:
    expected = set(wanted.items()) <= set(device.items())
    assert matches(Targeting(attributes=wanted), device) is expected
    assert compile_matcher(Targeting(attributes=wanted))(device) is expected


@given(wide=ATTRIBUTES, narrow=ATTRIBUTES, device=ATTRIBUTES)
def test_who_covers_another_has_all_its_devices(
    wide: dict[str, str], narrow: dict[str, str], device: dict[str, str]
) -> None:
    one, other = Targeting(attributes=wide), Targeting(attributes=narrow)
    if one.covers(other) and matches(other, device):
        assert matches(one, device)
    # The device that is exactly what `narrow` asks for tells a false claim apart.
    assert one.covers(other) is matches(one, narrow)


@given(attributes=ATTRIBUTES)
def test_json_round_trip(attributes: dict[str, str]) -> None:
    targeting = Targeting(attributes=attributes)
    assert Targeting.from_json(json.loads(json.dumps(targeting.to_json()))) == targeting


def test_nothing_said_is_everyone() -> None:
    assert matches(Targeting.from_json({}), {"os": "linux"})
    assert Targeting().covers(Targeting(attributes={"os": "linux"}))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({"policy": "os == 'linux'"}, "unknown keys policy"),
        ({"attributes": {}, "percent": 3}, "unknown keys percent"),
        ({"attributes": ["os"]}, "must be an object of text values"),
        ({"attributes": {"cores": 4}}, "numbers in quotes"),
        ({"attributes": {"": "x"}}, "1 to 64 bytes"),
        ({"attributes": {"ö" * 33: "x"}}, "1 to 64 bytes"),
        ({"attributes": {"os": "x" * 257}}, "at most 256 bytes"),
        ({"attributes": {"\ud800": "x"}}, "no Unicode text"),
        ({"attributes": {"os": "x\udfff"}}, "no Unicode text"),
        ({"attributes": {str(n): "x" for n in range(33)}}, "at most 32 fit"),
    ],
)
def test_what_is_half_understood_is_refused(value: object, says: str) -> None:
    with pytest.raises(TargetingInvalid, match=says):
        Targeting.from_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON | st.fixed_dictionaries({"attributes": JSON}))
def test_any_json_is_read_in_full_or_refused(value: object) -> None:
    try:
        targeting = Targeting.from_json(value)
    except TargetingInvalid:
        return
    assert isinstance(value, dict)
    assert targeting.to_json() == {"attributes": value.get("attributes", {})}


def test_limits_are_settings() -> None:
    small = TargetingSettings(attributes_max=1)
    with pytest.raises(TargetingInvalid, match="at most 1 fit"):
        Targeting.from_json({"attributes": {"a": "1", "b": "2"}}, small)


def test_a_device_is_matched_by_enrolment_then_its_own_then_its_facts() -> None:
    facts = DeviceFacts(os="linux", agent_version="0.1.0", attributes={"site": "b", "os": "lies"})
    enrolled = {"site": "a", "tier": "gold", "agent_version": "old"}
    expected = {"site": "b", "tier": "gold", "os": "linux", "agent_version": "0.1.0"}
    assert device_attributes(enrolled, facts) == expected
    stored = {"os": "linux", "agent_version": "0.1.0", "attributes": {"site": "b", "os": "lies"}}
    assert stored_attributes(enrolled, stored) == expected


def test_a_device_that_never_spoke_has_what_enrolment_said() -> None:
    assert stored_attributes({"site": "a"}, {}) == {"site": "a"}
