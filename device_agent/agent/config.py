"""HOME/agent.toml: what the device's owner or the app that embeds the agent may set; every key is optional.

    [app]         version = "3.2"                 # of the app that embeds the agent
    [attributes]  model = "till-7"                # for targeting: at most 32
    [policy]      battery_percent_min = 20        # fields of LocalPolicy
    [limits]      events_open_max = 5000          # fields of AgentSettings
    [metrics]     port = 9100                     # Prometheus on 127.0.0.1; 0 is off
    [tracing]     endpoint = "http://127.0.0.1:4317"   # OTLP; absent is off

Rules of this module:

- Unknown tables and keys are refused: a misspelt limit must not become the default limit.
- Every problem is told at once.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from device_agent.agent.errors import ConfigInvalid
from device_agent.agent.settings import AgentSettings, LocalPolicy

FILE = "agent.toml"
FILE_BYTES_MAX = 64 * 1024
ATTRIBUTES_MAX = 32
KEY_BYTES_MAX = 64
VALUE_BYTES_MAX = 256
TABLES = frozenset({"app", "attributes", "policy", "limits", "metrics", "tracing"})


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
        data = path.read_bytes()
    except FileNotFoundError:
        return AgentConfig()
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid(f"{path}: longer than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
            if value < 0:
                problems.append(f"{name} is {value}; it must be 0 or more")
    port = metrics.get("port", 0)
    if not 0 <= port <= 65_535:
        problems.append(f"metrics.port is {port}; use 0 to 65535")
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
            problems.append(f"{table}.{name} must be {known[name].__name__}, not {value!r}")
        else:
            found[name] = value
    return found


def _attributes(table: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    if len(table) > ATTRIBUTES_MAX:
        problems.append(f"[attributes] has {len(table)} keys; {ATTRIBUTES_MAX} are allowed")
    for key, value in table.items():
        if not isinstance(value, str):
            problems.append(f"attributes.{key} must be a string, not {value!r}")
        elif len(key.encode()) > KEY_BYTES_MAX or len(value.encode()) > VALUE_BYTES_MAX:
            problems.append(
                f"attributes.{key}: a key has at most {KEY_BYTES_MAX} bytes, a value {VALUE_BYTES_MAX}"
            )
    return {key: value for key, value in table.items() if isinstance(value, str)}
