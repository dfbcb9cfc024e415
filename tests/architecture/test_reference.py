"""Every setting, metric, failpoint and rpc is where a reader would look for it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sources() -> Iterator[Path]:
    for top in ("cloud", "device_agent"):
        yield from (path for path in (ROOT / top).rglob("*.py") if "node_modules" not in path.parts)


def pages(folder: str) -> str:
    return "\n".join(
        page.read_text() for page in sorted((ROOT / "docs/reference" / folder).glob("*.md"))
    )


def settings_fields() -> Iterator[tuple[Path, str]]:
    for path in sources():
        if path.name != "settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        yield path, item.target.id


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"`([a-z0-9_]+)`", pages("settings")))
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name in settings_fields()
        if name not in documented
    ]
    assert not missing, f"write a row in docs/reference/settings for {missing}"


def test_every_metric_is_documented() -> None:
    documented = pages("metrics")
    used = {
        name
        for path in sources()
        for name in re.findall(
            r"""["'](shoal_(?!task)[a-z0-9]+_[a-z0-9_]+)["']""", path.read_text()
        )
        if name.split("_")[1]
        in (
            "gateway",
            "agent",
            "telemetry",
            "admin",
            "rollout",
            "vm",
            "bus",
            "store",
            "cloud",
            "artifacts",
            "keys",
        )
    }
    missing = sorted(name for name in used if name not in documented)
    assert not missing, f"write a row in docs/reference/metrics for {missing}"


def test_failpoint_names_are_unique_and_well_formed() -> None:
    seen: dict[str, Path] = {}
    for path in sources():
        for name in re.findall(r"""\bfailpoint\(["']([^"']+)["']\)""", path.read_text()):
            assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", name), f"{path}: {name}"
            assert name not in seen, f"{name} stands in {path} and in {seen[name]}"
            seen[name] = path


def test_every_rpc_message_and_field_has_a_comment() -> None:
    bare: list[str] = []
    for path in (ROOT / "protos").rglob("*.proto"):
        previous = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            declares = re.match(r"\s*(rpc|message|enum|service)\s|\s*[\w.<>, ]+ \w+ = \d+;", line)
            if declares and not previous.strip().startswith("//"):
                bare.append(f"{path.name}:{number}: {line.strip()}")
            previous = line
    assert not bare, "\n".join(bare)
