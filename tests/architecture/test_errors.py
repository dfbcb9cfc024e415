"""Every error code is unique, has a gRPC status that exists, and a section in docs/reference/errors."""

import re
from pathlib import Path

import grpc

from cloud.admin.error_catalogue import every_error

ROOT = Path(__file__).parents[2]


def documented() -> set[str]:
    pages = (ROOT / "docs/reference/errors").glob("*.md")
    return {
        code for page in pages for code in re.findall(r"^## ([A-Z0-9_]+)$", page.read_text(), re.M)
    }


def test_codes_are_well_formed_and_unique() -> None:
    wrong = [code for code in every_error() if not re.fullmatch(r"[A-Z][A-Z0-9_]+", code)]
    assert not wrong


def test_statuses_exist() -> None:
    names = {status.name for status in grpc.StatusCode}
    wrong = [
        (code, error.status) for code, error in every_error().items() if error.status not in names
    ]
    assert not wrong, f"not a gRPC status: {wrong}"


def test_every_code_has_a_section() -> None:
    missing = every_error().keys() - documented()
    assert not missing, f"write a section in docs/reference/errors for {sorted(missing)}"
