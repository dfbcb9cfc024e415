"""agent.toml and conditions.json of every bad kind: named, all at once, and never half-taken."""

import json
import os
import string
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloud.gateway.settings import SyncSettings
from cloud.telemetry.settings import TelemetrySettings
from device_agent.agent.conditions import FILE_BYTES_MAX, Conditions, FileConditions, Network
from device_agent.agent.config import (
    ACKS_MIN,
    ATTRIBUTES_MAX,
    FILE,
    KEY_BYTES_MAX,
    MAY_BE_ZERO,
    NUMBER_MAX,
    ON_THE_WIRE,
    TABLES,
    VALUE_BYTES_MAX,
    AgentConfig,
    load_config,
)
from device_agent.agent.config import FILE_BYTES_MAX as CONFIG_BYTES_MAX
from device_agent.agent.errors import ConfigInvalid
from device_agent.agent.facts import FACTS_BYTES_MAX, gather_facts
from device_agent.agent.settings import AgentSettings, LocalPolicy

LIMITS = [field.name for field in fields(AgentSettings)]
POLICY = [field.name for field in fields(LocalPolicy)]
quiet = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
toml_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


def written(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value), repr(value))
    return json.dumps(value) if isinstance(value, str) else str(value)


def load(home: Path, text: str | bytes) -> AgentConfig:
    (home / FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(home)


def tried(home: Path, text: str | bytes) -> tuple[AgentConfig | None, str]:
    """The configuration, or why there is none."""
    try:
        return load(home, text), ""
    except ConfigInvalid as error:
        return None, str(error)


# --- agent.toml -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@hypothesis_settings(quiet, max_examples=40)
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_a_configuration_or_refused_by_name(tmp_path: Path, data: bytes) -> None:
    config, refusal = tried(tmp_path, data)
    assert (config is None) == bool(refusal)
    assert config is None or config.settings == AgentSettings()
    assert not refusal or str(tmp_path / FILE) in refusal


@pytest.mark.slow
@hypothesis_settings(quiet, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*sorted(TABLES), "other"]),
        st.dictionaries(
            st.sampled_from([*LIMITS, *POLICY, "version", "port", "endpoint", "x"]),
            toml_values,
            max_size=4,
        ),
        max_size=4,
    )
)
def test_a_configuration_is_taken_whole_or_every_wrong_key_is_told(
    tmp_path: Path, tables: dict[str, dict[str, Any]]
) -> None:
    text = "\n".join(
        "\n".join([f"[{table}]", *(f"{key} = {written(value)}" for key, value in keys.items())])
        for table, keys in tables.items()
    )
    known = {
        "limits": set(LIMITS),
        "policy": set(POLICY),
        "app": {"version"},
        "metrics": {"port"},
        "tracing": {"endpoint"},
    }
    config, refusal = tried(tmp_path, text)
    if config is None:
        assert ("other" in tables) == ("[other] is unknown" in refusal)
        for table, keys in tables.items():
            for key in keys.keys() - known.get(table, keys.keys()):
                assert f"{table}.{key} is unknown" in refusal
        return
    for key, value in tables.get("limits", {}).items():
        assert getattr(config.settings, key) == value
    for key, value in tables.get("policy", {}).items():
        assert getattr(config.policy, key) == value
    assert config.attributes == tables.get("attributes", {})


@pytest.mark.parametrize(
    "text",
    [
        "[limits]\ndeaths_max = " + "9" * 5_000,
        "[limits]\ndeaths_max = 0x" + "f" * 5_000,
        "[metrics]\nport = 0x" + "f" * 5_000,
        "[app]\nversion = [0b" + "1" * 20_000 + "]",
        "[attributes]\nx = -0o" + "7" * 9_000,
        "[attributes]\nx = 0o" + "7" * 9_000,
        "x = " + "[" * 20_000,
        "x = " + "{a=" * 9_000,
        b"\xff\xfe[limits]",
        b"[app]\nversion = '\x00'",
        "#" * (CONFIG_BYTES_MAX + 1),
    ],
    ids=[
        "digits",
        "hex",
        "port",
        "binary",
        "sign",
        "octal",
        "lists",
        "tables",
        "no utf-8",
        "nul",
        "long",
    ],
)
def test_what_a_parser_chokes_on_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigInvalid, match="agent"):
        load(tmp_path, text)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / FILE).rmdir()
    (tmp_path / FILE).symlink_to(tmp_path / FILE)
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", LIMITS)
def test_zero_is_refused_where_the_agent_could_not_work_with_it(tmp_path: Path, name: str) -> None:
    text = f"[limits]\n{name} = 0"
    if name in MAY_BE_ZERO:
        assert getattr(load(tmp_path, text).settings, name) == 0
        return
    with pytest.raises(ConfigInvalid, match=f"{name} is 0; it must be"):
        load(tmp_path, text)


@pytest.mark.parametrize("name", [*LIMITS, *POLICY])
def test_no_number_is_longer_than_the_store_holds(tmp_path: Path, name: str) -> None:
    table = "limits" if name in LIMITS else "policy"
    with pytest.raises(ConfigInvalid, match=f"{name} is {NUMBER_MAX + 1}; it must be"):
        load(tmp_path, f"[{table}]\n{name} = {NUMBER_MAX + 1}")


def test_one_document_always_fits(tmp_path: Path) -> None:
    assert load(tmp_path, f"[limits]\nacks_max = {ACKS_MIN}").settings.acks_max == ACKS_MIN
    with pytest.raises(ConfigInvalid, match=f"acks_max is {ACKS_MIN - 1}"):
        load(tmp_path, f"[limits]\nacks_max = {ACKS_MIN - 1}")


def test_what_goes_into_one_call_is_what_the_cloud_takes(tmp_path: Path) -> None:
    """More would be refused at every call, for ever."""
    gateway, telemetry = SyncSettings(), TelemetrySettings()
    assert {
        "acks_per_sync_max": gateway.acknowledgements_max,
        "reports_per_message_max": telemetry.reports_max,
        "message_bytes_max": telemetry.message_bytes_max,
    } == ON_THE_WIRE
    for name, most in ON_THE_WIRE.items():
        assert getattr(AgentSettings(), name) <= most
        with pytest.raises(ConfigInvalid, match=f"{name} is {most + 1}"):
            load(tmp_path, f"[limits]\n{name} = {most + 1}")


@pytest.mark.parametrize(
    "pair", [("retry_ms_min", "retry_ms_max"), ("sync_after_ms_min", "sync_after_ms_max")]
)
def test_a_shortest_pause_is_no_longer_than_the_longest(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    low, high = pair
    assert load(tmp_path, f"[limits]\n{low} = 700\n{high} = 700").settings
    with pytest.raises(ConfigInvalid, match=f"{low} is 701, more than {high}, which is 700"):
        load(tmp_path, f"[limits]\n{low} = 701\n{high} = 700")
    with pytest.raises(ConfigInvalid, match=f"{low} is {NUMBER_MAX}, more than {high}"):
        load(tmp_path, f"[limits]\n{low} = {NUMBER_MAX}")


def test_a_battery_has_no_more_than_100_per_cent(tmp_path: Path) -> None:
    assert load(tmp_path, "[policy]\nbattery_percent_min = 100").policy.battery_percent_min == 100
    with pytest.raises(ConfigInvalid, match="battery_percent_min is 101; it must be 100 or less"):
        load(tmp_path, "[policy]\nbattery_percent_min = 101")


def test_every_attribute_that_is_read_is_one_that_the_cloud_takes(tmp_path: Path) -> None:
    sync = SyncSettings()
    assert (sync.attributes_max, sync.attribute_key_bytes_max) == (ATTRIBUTES_MAX, KEY_BYTES_MAX)
    assert sync.attribute_value_bytes_max == VALUE_BYTES_MAX
    with pytest.raises(ConfigInvalid, match="a key has 1 to"):
        load(tmp_path, '[attributes]\n"" = "x"')
    with pytest.raises(ConfigInvalid, match="a key has 1 to"):
        load(tmp_path, f'[attributes]\n"{"ä" * 33}" = "x"')


def test_facts_that_the_cloud_would_refuse_at_every_sync_are_refused_at_the_start() -> None:
    assert SyncSettings().facts_bytes_max == FACTS_BYTES_MAX
    plain = gather_facts(AgentConfig())
    room = FACTS_BYTES_MAX - plain.message().ByteSize()
    assert room > 512, "there is room for an app's attributes"
    value = "v" * VALUE_BYTES_MAX
    fits = replace(AgentConfig(), attributes={"a": value, "b": value})
    assert gather_facts(fits).message().ByteSize() <= FACTS_BYTES_MAX
    for config in (
        replace(fits, attributes={f"a{n}": value for n in range(4)}),
        replace(fits, app_version="9" * FACTS_BYTES_MAX),
    ):
        with pytest.raises(ConfigInvalid, match=r"1024 are allowed: shorten \[attributes\]"):
            gather_facts(config)


# --- conditions.json --------------------------------------------------------------------------------------------

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
documents = st.dictionaries(
    st.sampled_from(["battery_percent", "charging", "network", "other"]),
    json_values | st.sampled_from([0, 100, 101, -1, True, "metered", "offline"]),
    max_size=4,
)


def expected(document: dict[str, Any]) -> Conditions | None:
    """The conditions that a document means; None when it means none. Written from the rules, without the reader."""
    if document.keys() - {"battery_percent", "charging", "network"}:
        return None
    battery = document.get("battery_percent")
    charging = document.get("charging", False)
    network = document.get("network", "unmetered")
    whole = isinstance(battery, int) and not isinstance(battery, bool) and 0 <= battery <= 100
    if not (battery is None or whole) or not isinstance(charging, bool):
        return None
    if not isinstance(network, str) or network not in {"unmetered", "metered", "offline"}:
        return None
    return Conditions(battery_percent=battery, charging=charging, network=Network(network))


@pytest.mark.slow
@hypothesis_settings(quiet, max_examples=60)
@given(st.lists(documents, min_size=1, max_size=4))
def test_a_file_is_believed_when_it_can_be_and_else_what_was_known_stays(
    tmp_path: Path, history: list[dict[str, Any]]
) -> None:
    path, told = tmp_path / "conditions.json", list[str]()
    path.unlink(missing_ok=True)
    conditions = FileConditions(path, told.append)
    known, wrong = conditions.read(), 0
    for number, document in enumerate(history, 1):
        path.write_text(json.dumps(document))
        os.utime(path, ns=(number, number))
        meant = expected(document)
        known = known if meant is None else meant
        wrong += meant is None
        assert conditions.read() == conditions.read() == known
        assert len(told) == wrong, "told once for each file that cannot be believed"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b'{"network": "\xff"}',
        b'{"network": "\\ud800"}',
        b"[" * FILE_BYTES_MAX,
        b'{"battery_percent": ' + b"[" * 4_000,
        b'{"battery_percent": ' + b"9" * 4_000 + b"}",
        b'{"battery_percent": 1e999}',
        b'{"charging": true}' + b" " * FILE_BYTES_MAX,
    ],
    ids=["empty", "bom", "no utf-8", "half", "lists", "deep", "digits", "infinite", "long"],
)
def test_what_a_parser_chokes_on_changes_nothing(tmp_path: Path, data: bytes) -> None:
    path, told = tmp_path / "conditions.json", list[str]()
    path.write_text('{"battery_percent": 7}')
    conditions = FileConditions(path, told.append)
    assert conditions.read().battery_percent == 7
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert conditions.read() == conditions.read() == Conditions(battery_percent=7)
    assert len(told) == 1
    assert "stays in use" in told[0]


def test_a_file_that_cannot_be_looked_at_keeps_what_was_known(tmp_path: Path) -> None:
    folder, told = tmp_path / "folder", list[str]()
    folder.mkdir()
    path = folder / "conditions.json"
    path.write_text('{"network": "offline"}')
    conditions = FileConditions(path, told.append)
    offline = conditions.read()
    assert offline.network is Network.OFFLINE
    path.unlink()
    path.mkdir()
    assert conditions.read() == offline
    path.rmdir()
    path.symlink_to(path)  # a circle
    assert conditions.read() == conditions.read() == offline
    path.unlink()
    folder.rmdir()
    folder.write_text("no folder any more")
    assert conditions.read() == conditions.read() == offline
    assert len(told) == 2, "the folder in its place, then what could not be looked at"
    folder.unlink()
    assert conditions.read() == Conditions()
