"""agent.toml and conditions.json: what is read, and what is refused."""

from pathlib import Path

import pytest

from device_agent.agent.conditions import Conditions, FileConditions, Network
from device_agent.agent.config import AgentConfig, load_config
from device_agent.agent.errors import ConfigInvalid


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_config(tmp_path) == AgentConfig()


def test_everything_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[app]\nversion = "3.2"\n[attributes]\nmodel = "till-7"\n[policy]\nbattery_percent_min = 30\n'
        '[limits]\ndeaths_max = 7\n[metrics]\nport = 9100\n[tracing]\nendpoint = "http://127.0.0.1:4317"\n'
    )
    config = load_config(tmp_path)
    assert (config.app_version, config.attributes) == ("3.2", {"model": "till-7"})
    assert (config.policy.battery_percent_min, config.settings.deaths_max) == (30, 7)
    assert (config.metrics_port, config.tracing_endpoint) == (9100, "http://127.0.0.1:4317")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[app", "agent.toml"),
        ("[polcy]", "[polcy] is unknown"),
        ("[limits]\ndeath_max = 1", "limits.death_max is unknown"),
        ("[limits]\ndeaths_max = true", "limits.deaths_max must be int"),
        ("[limits]\ndeaths_max = -1", "must be 1 or more"),
        ("[metrics]\nport = 70000", "use 0 to 65535"),
        ("[attributes]\nx = 1", "attributes.x must be a string"),
        (f'[attributes]\nx = "{"y" * 257}"', "256"),
        ("app = 1", "must be a table"),
        ("[attributes]\n" + "\n".join(f'k{i} = ""' for i in range(33)), "32 are allowed"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(tmp_path)
    assert says in str(caught.value)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[one]\n[two]\n[metrics]\nport = -1")
    with pytest.raises(ConfigInvalid, match=r"\[one\].*\[two\].*port"):
        load_config(tmp_path)


def test_conditions_are_read_again_when_they_change(tmp_path: Path) -> None:
    path, told = tmp_path / "conditions.json", list[str]()
    conditions = FileConditions(path, told.append)
    assert conditions.read() == Conditions()
    path.write_text('{"battery_percent": 7, "network": "metered"}')
    assert conditions.read() == Conditions(battery_percent=7, network=Network.METERED)
    path.write_text('{"battery_percent": "full"}')
    assert conditions.read() == Conditions(battery_percent=7, network=Network.METERED)
    assert conditions.read().battery_percent == 7
    assert len(told) == 1
    path.unlink()
    assert conditions.read() == Conditions()
