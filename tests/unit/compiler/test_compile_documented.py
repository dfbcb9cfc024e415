"""The reference page names every ONNX operator that is compiled."""

import re
from pathlib import Path

from cloud.compiler.rules import RULES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "model-file.md"


def test_every_supported_operator_is_named() -> None:
    text = PAGE.read_text().split("Supported operators:")[1].split(";")[0]
    assert set(re.findall(r"[A-Z]\w+", text)) == {*RULES, "Constant"}
