"""Which cloud, which namespace, as whom: flags over environment over the configuration file.

Rules of this module:

- The configuration file is TOML, `$XDG_CONFIG_HOME/shoal/config.toml`: address, namespace and the name of a token file.
- A token is never taken from a flag's value: it would stay in the shell's history and in process lists.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.admin.cli.errors import UsageWrong
from device_agent.tasks.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a command goes.

    Attributes:
        address: URL of the REST API, e.g. "http://127.0.0.1:8080".
        token: Bearer token; empty when none is configured.
        namespace: "app/project"; empty when none is configured.
    """

    address: str
    token: str
    namespace: str

    def path(self, rest: str = "") -> str:
        """A path inside the namespace.

        Raises:
            UsageWrong: no namespace is configured, or it is not "app/project".
        """
        if not self.namespace:
            raise UsageWrong("no namespace: pass --namespace app/project or set SHOAL_NAMESPACE")
        return f"/api/v1/namespaces/{Namespace.parse(self.namespace)}{rest}"


def config_file(environment: Mapping[str, str]) -> Path:
    """Where the configuration file is looked for."""
    base = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", ".")) / ".config")
    return Path(base) / "shoal" / "config.toml"


def _configured(environment: Mapping[str, str]) -> dict[str, str]:
    path = config_file(environment)
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageWrong(f"cannot read {path}: {error.strerror}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError, and so are others
        raise UsageWrong(f"{path} is not TOML: {error}") from None
    unknown = set(found) - {"address", "namespace", "token_file"}
    if unknown:
        raise UsageWrong(
            f"{path}: unknown keys {sorted(unknown)}; known are address, namespace, token_file"
        )
    for key, value in found.items():
        if not isinstance(value, str):
            raise UsageWrong(f"{path}: {key} must be text in quotes")
    return found


def _token(environment: Mapping[str, str], token_file: str) -> str:
    if not token_file:
        return environment.get("SHOAL_TOKEN", "")
    try:
        return Path(token_file).expanduser().read_text().strip()
    except OSError as error:
        raise UsageWrong(f"cannot read the token file {token_file}: {error.strerror}") from None
    except RuntimeError:
        raise UsageWrong(f"the token file {token_file} is in the home of nobody here") from None
    except ValueError:  # no UTF-8, or a name that no file can have
        raise UsageWrong(
            f"the token file {token_file!r} is not text: name the file that holds a token"
        ) from None


def find_context(
    *,
    address: str = "",
    namespace: str = "",
    token_file: str = "",
    environment: Mapping[str, str] = os.environ,
) -> Context:
    """The context of one command.

    Raises:
        UsageWrong: no address is known, or a file cannot be read.
    """
    configured = _configured(environment)
    where = address or environment.get("SHOAL_ADDRESS", "") or configured.get("address", "")
    if not where.startswith(("http://", "https://")):
        raise UsageWrong(
            "no address of a cloud: pass --address http://HOST:PORT or set SHOAL_ADDRESS"
            if not where
            else f"the address {where!r} must start with http:// or https://"
        )
    chosen = token_file or (
        "" if environment.get("SHOAL_TOKEN") else configured.get("token_file", "")
    )
    return Context(
        address=where.rstrip("/"),
        token=_token(environment, chosen),
        namespace=namespace
        or environment.get("SHOAL_NAMESPACE", "")
        or configured.get("namespace", ""),
    )
