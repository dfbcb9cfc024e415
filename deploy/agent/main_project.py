"""Gives the agent's wheel the version and the dependencies of the main project."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

MAIN = Path(__file__).parents[2] / "pyproject.toml"


def dynamic_metadata(
    _settings: Mapping[str, object], _project: Mapping[str, object]
) -> dict[str, object]:
    """Called by the build backend; there is nothing to set."""
    main = tomllib.loads(MAIN.read_text())["project"]
    return {"version": main["version"], "dependencies": main["dependencies"]}
