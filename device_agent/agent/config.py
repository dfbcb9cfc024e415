"""HOME/agent.toml: what the device's owner or the app that embeds the agent may set; every key is optional.

    [app]         version = "3.2"                 # of the app that embeds the agent
    [attributes]  model = "till-7"                # for targeting: at most 32
    [policy]      battery_percent_min = 20        # fields of LocalPolicy
    [limits]      events_open_max = 5000          # fields of AgentSettings
    [metrics]     port = 9100                     # Prometheus on 127.0.0.1; 0 is off
    [tracing]     endpoint = "http://127.0.0.1:4317"   # OTLP; absent is off

Rules of this module:

- Unknown tables and keys are refused: a misspelt limit must not become the default limit.
- A limit with which the agent could never work is refused (zero tries, no room for one document), and so is what the
  cloud would refuse at every call (facts or messages longer than the wire allows).
- Every problem is told at once.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from device_agent.agent.errors import ConfigInvalid
from device_agent.agent.settings import AgentSettings, LocalPolicy
from device_agent.tasks.director import TASKS_MAX

FILE = "agent.toml"
FILE_BYTES_MAX = 64 * 1024
ATTRIBUTES_MAX = 32
KEY_BYTES_MAX = 64
VALUE_BYTES_MAX = 256
TABLES = frozenset({"app", "attributes", "policy", "limits", "metrics", "tracing"})
# What SQLite and every clock of ours can hold.
NUMBER_MAX = 2**53 - 1
# Zero is a meaning of its own: nothing is kept, nothing is waited for, nothing is admitted.
MAY_BE_ZERO = frozenset(
    {
        "battery_percent_min",
        "metered_bytes_max",
        "disk_quota_bytes",
        "seen_uids_max",
        "hurry_ms_max",
        "skew_ms_max",
        "tunnel_idle_ms",
        "partials_bytes_max",
        "recording_bytes_max",
        "drain_ms_max",
    }
)
# A document makes up to two acknowledgements a task, and is taken only when all of them have room.
ACKS_MIN = 2 * TASKS_MAX
# What the cloud takes in one call; protos/shoal says so.
ON_THE_WIRE: Mapping[str, int] = {
    "acks_per_sync_max": 64,
    "reports_per_message_max": 256,
    "message_bytes_max": 256 * 1024,
}
PAIRS = (("retry_ms_min", "retry_ms_max"), ("sync_after_ms_min", "sync_after_ms_max"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The whole configuration."""

    app_version: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    policy: LocalPolicy = field(default_factory=LocalPolicy)
    settings: AgentSettings = field(default_factory=AgentSettings)
    metrics_port: int = 0
    tracing_endpoint: str = ""


def load_config(home: Path) -> AgentConfig:
    """Reads the home folder's agent.toml; defaults when there is none.

    Raises:
        ConfigInvalid: the file cannot be read, or says what cannot be; every problem is listed.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return AgentConfig()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"{path}: longer than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError, and so are others
        raise ConfigInvalid(f"{path}: {error}") from error
    problems: list[str] = []
    config = _read(document, problems)
    if problems:
        raise ConfigInvalid(f"{path}: " + "; ".join(problems))
    return config


def _read(document: Mapping[str, Any], problems: list[str]) -> AgentConfig:
    for name in sorted(document.keys() - TABLES):
        problems.append(f"[{name}] is unknown; known are {', '.join(sorted(TABLES))}")
    tables = {name: _table(document, name, problems) for name in TABLES}
    app = _keys("app", tables["app"], {"version": str}, problems)
    metrics = _keys("metrics", tables["metrics"], {"port": int}, problems)
    tracing = _keys("tracing", tables["tracing"], {"endpoint": str}, problems)
    policy = _keys("policy", tables["policy"], _integers(LocalPolicy), problems)
    limits = _keys("limits", tables["limits"], _integers(AgentSettings), problems)
    for table in (policy, limits):
        for name, value in table.items():
            _check_number(name, value, problems)
    _check_pairs(limits, problems)
    port = metrics.get("port", 0)
    if not 0 <= port <= 65_535:
        problems.append(f"metrics.port is {_shown(port)}; use 0 to 65535")
    attributes = _attributes(tables["attributes"], problems)
    if problems:
        return AgentConfig()
    return AgentConfig(
        app_version=app.get("version", ""),
        attributes=attributes,
        policy=LocalPolicy(**policy),
        settings=AgentSettings(**limits),
        metrics_port=port,
        tracing_endpoint=tracing.get("endpoint", ""),
    )


def _check_number(name: str, value: int, problems: list[str]) -> None:
    least = ACKS_MIN if name == "acks_max" else 0 if name in MAY_BE_ZERO else 1
    most = 100 if name == "battery_percent_min" else ON_THE_WIRE.get(name, NUMBER_MAX)
    if value < least:
        problems.append(f"{name} is {_shown(value)}; it must be {least} or more")
    elif value > most:
        problems.append(f"{name} is {_shown(value)}; it must be {most} or less")


def _check_pairs(limits: Mapping[str, int], problems: list[str]) -> None:
    known = AgentSettings()
    for low, high in PAIRS:
        least, most = (limits.get(name, getattr(known, name)) for name in (low, high))
        if least > most:
            problems.append(f"{low} is {least}, more than {high}, which is {most}")


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (
        ValueError
    ):  # Python writes no number of thousands of digits; TOML's hexadecimal reads one
        return "a number of too many digits"


def _table(document: Mapping[str, Any], name: str, problems: list[str]) -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        problems.append(f"{name} must be a table, [{name}]")
        return {}
    return table


def _integers(settings: type[AgentSettings] | type[LocalPolicy]) -> dict[str, type]:
    return {item.name: int for item in fields(settings)}


def _keys(
    table: str, values: Mapping[str, Any], known: Mapping[str, type], problems: list[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            problems.append(f"{table}.{name} is unknown; known are {', '.join(sorted(known))}")
        elif type(value) is not known[name]:
            problems.append(f"{table}.{name} must be {known[name].__name__}, not {_shown(value)}")
        else:
            found[name] = value
    return found


def _attributes(table: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    if len(table) > ATTRIBUTES_MAX:
        problems.append(f"[attributes] has {len(table)} keys; {ATTRIBUTES_MAX} are allowed")
    for key, value in table.items():
        if not isinstance(value, str):
            problems.append(f"attributes.{key} must be a string, not {_shown(value)}")
        elif not 0 < len(key.encode()) <= KEY_BYTES_MAX or len(value.encode()) > VALUE_BYTES_MAX:
            problems.append(
                f"attributes.{key}: a key has 1 to {KEY_BYTES_MAX} bytes, a value at most {VALUE_BYTES_MAX}"
            )
    return {key: value for key, value in table.items() if isinstance(value, str)}
