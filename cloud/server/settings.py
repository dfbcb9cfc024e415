"""How a cloud process is set up: flags over environment over a TOML file over these defaults.

Rules of this module:

- Every setting has one name: `database_url` is `--database-url`, SHOAL_CLOUD_DATABASE_URL and, in TOML, database_url.
- Everything listens on loopback unless told otherwise; port 0 lets the system choose.
- An unknown key is refused: a typing error must not be an empty setting.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cloud.server.errors import SettingsInvalid

ENVIRONMENT_PREFIX = "SHOAL_CLOUD_"
# What a Sync's answer holds: four weeks and more.
PAUSE_MS_MAX = 2**31 - 1
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One cloud process.

    Attributes:
        home: Folder of keys, database, artifacts and addresses.json of the embedded default.
        namespaces: "app/project" of each namespace that exists from the first start.
        database_url: sqlite:///PATH or postgresql://…; empty is HOME/shoal.db.
        bus_url: "embedded:" or redis://….
        artifacts_url: file:///PATH, s3://…; empty is HOME/artifacts.
        host: Address that the devices' sockets listen on.
        admin_host: Address that the operators' sockets listen on.
        public_host: Name or address by which devices reach this cloud; in its certificate and in enrolment codes.
        rest_port: REST, console, metrics and health.
        admin_grpc_port: Operators' gRPC.
        device_grpc_port: Devices' gRPC, mutual TLS.
        device_https_port: Devices' HTTPS face.
        migrate: Brings the database's schema up to date at the start.
        first_keys: Makes keys and a first token when the home has none.
        sync_interval_ms: How often devices come back while no release is on its way.
        sync_stepping_interval_ms: How often while one is; the smaller the fleet, the shorter this may be.
        pythons: Programs of other Pythons that tasks are compiled for, beside this cloud's own.
        refresh_ms: How often TUF's online roles are looked at.
        drain_ms: Time that running requests get when the process is told to stop.
        otlp_endpoint: OTLP gRPC collector for traces; empty exports none.
        log_level: debug, info, warning or error.
        log_human: Text for people instead of JSON.
    """

    home: Path
    namespaces: tuple[str, ...] = ("demo/app",)
    database_url: str = ""
    bus_url: str = "embedded:"
    artifacts_url: str = ""
    host: str = "127.0.0.1"
    admin_host: str = "127.0.0.1"
    public_host: str = "127.0.0.1"
    rest_port: int = 0
    admin_grpc_port: int = 0
    device_grpc_port: int = 0
    device_https_port: int = 0
    migrate: bool = True
    first_keys: bool = True
    sync_interval_ms: int = 60_000
    sync_stepping_interval_ms: int = 5_000
    pythons: tuple[str, ...] = ()
    refresh_ms: int = 3_600_000
    drain_ms: int = 10_000
    otlp_endpoint: str = ""
    log_level: str = "info"
    log_human: bool = False


def _read_text(name: str, text: str, like: object) -> Any:  # noqa: ANN401  the field's own type
    """Reads a setting from text as the type that its default has."""
    try:
        if isinstance(like, bool):
            if text.lower() not in (*TRUE, *FALSE):
                raise ValueError("say true or false")
            return text.lower() in TRUE
        if isinstance(like, int):
            return int(text)
        if isinstance(like, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsInvalid(f"{name}={text!r}: {error}") from None
    return text


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(ServerSettings)}
    found: dict[str, Any] = {}
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and text:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if name not in defaults:
                raise SettingsInvalid(f"{variable} is no setting: {', '.join(defaults)} are")
            found[name] = (
                Path(text) if name == "home" else _read_text(variable, text, defaults[name])
            )
    return found


def _from_toml(file: Path) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(ServerSettings)}
    try:
        found = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsInvalid(f"cannot read {file}: {error.strerror}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError, and so are others
        raise SettingsInvalid(f"{file} is not TOML: {error}") from None
    for name, value in found.items():
        if name not in defaults:
            raise SettingsInvalid(f"{file}: {name} is no setting: {', '.join(defaults)} are")
        found[name] = _from_toml_value(f"{file}: {name}", value, defaults[name])
    return found


def _from_toml_value(name: str, value: Any, like: object) -> Any:  # noqa: ANN401  the field's own type
    if isinstance(like, tuple) and isinstance(value, list):
        return tuple(str(part) for part in value)
    wanted = type(like) if isinstance(like, bool | int | tuple) else str
    if type(value) is not wanted:
        raise SettingsInvalid(f"{name}: not a {wanted.__name__}, but a {type(value).__name__}")
    return value


def read_settings(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None
) -> ServerSettings:
    """Puts the settings together; a flag that is None was not given.

    Raises:
        SettingsInvalid: A name is unknown, or a value is not what its name says.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    merged = {**(_from_toml(file) if file else {}), **_from_environment(environment), **given}
    if not merged.get("home"):
        raise SettingsInvalid("no home: pass --home DIR or set SHOAL_CLOUD_HOME")
    try:
        home = Path(merged["home"]).expanduser()
    except RuntimeError as error:
        raise SettingsInvalid(f"home {merged['home']}: {error}") from None
    settings = ServerSettings(**{**merged, "home": home})
    _check(settings)
    return settings


def _check(settings: ServerSettings) -> None:
    for name in ("rest_port", "admin_grpc_port", "device_grpc_port", "device_https_port"):
        if not 0 <= getattr(settings, name) <= 65_535:
            raise SettingsInvalid(f"{name}: choose 0 to 65535; 0 lets the system choose")
    for name in ("refresh_ms", "drain_ms", "sync_interval_ms", "sync_stepping_interval_ms"):
        if not 1 <= getattr(settings, name) <= PAUSE_MS_MAX:
            raise SettingsInvalid(f"{name}: 1 to {PAUSE_MS_MAX} ms")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise SettingsInvalid(f"log_level {settings.log_level!r}: debug, info, warning or error")
