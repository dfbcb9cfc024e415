"""Every error code is unique, has a gRPC status that exists, and a section in docs/reference/errors."""

import importlib
import pkgutil
import re
from pathlib import Path

import grpc

import cloud
import device_agent
from device_agent.errors import ShoalError

ROOT = Path(__file__).parents[2]


def load_every_errors_module() -> None:
    for package in (cloud, device_agent):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.endswith("errors"):
                importlib.import_module(module.name)


def catalogue() -> list[type[ShoalError]]:
    load_every_errors_module()
    found: list[type[ShoalError]] = []
    queue = [ShoalError]
    while queue:
        error = queue.pop()
        queue.extend(error.__subclasses__())
        if "code" in error.__dict__:
            found.append(error)
    return found


def documented() -> set[str]:
    pages = (ROOT / "docs/reference/errors").glob("*.md")
    return {
        code for page in pages for code in re.findall(r"^## ([A-Z0-9_]+)$", page.read_text(), re.M)
    }


def test_codes_are_unique() -> None:
    seen: dict[str, type[ShoalError]] = {}
    for error in catalogue():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", error.code), error
        assert error.code not in seen, f"{error} and {seen[error.code]} share {error.code}"
        seen[error.code] = error


def test_statuses_exist() -> None:
    names = {status.name for status in grpc.StatusCode}
    wrong = [error for error in catalogue() if error.status not in names]
    assert not wrong, f"not a gRPC status: {[(error, error.status) for error in wrong]}"


def test_every_code_has_a_section() -> None:
    missing = {error.code for error in catalogue()} - documented()
    assert not missing, f"write a section in docs/reference/errors for {sorted(missing)}"
