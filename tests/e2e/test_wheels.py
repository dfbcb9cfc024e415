"""The two wheels, each installed alone into an empty environment: the agent has nothing of the cloud, and both run."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from shoal_task import Event

from cloud.fleet.local import LocalAgent, LocalCloud
from device_agent.events.feeder import FeederClient
from tests.helpers.local_fleet import EVENT, FAST_SYNCS, NAMESPACE, Fleet

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
UV = ROOT / "build/uv/bin/uv"
AGENT_WHEEL_BYTES_MAX = 1_600_000  # its engine has each kernel for four kinds of processor
# Installed, with every dependency.
DEVICE_BYTES_MAX = 60_000_000
SOURCES = re.compile(
    r"\.(cpp|cc|h|hpp|proto|tsx?|jsx?\.map)$|CMakeLists\.txt$|/native/|node_modules"
)
EVENTS = 3


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel in an environment of its own."""

    wheel: Path
    environment: Path

    @property
    def site(self) -> Path:
        """Where its packages are."""
        (found,) = self.environment.glob("lib/python3.*/site-packages")
        return found

    def program(self, name: str) -> str:
        """Path of a command."""
        return str(self.environment / "bin" / name)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment, far from the checkout."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [self.program(command[0]), *command[1:]],
            cwd=self.environment,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )


def call(*command: str | Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    folder = tmp_path_factory.mktemp("wheels")
    call("make", "--no-print-directory", "wheels", f"WHEELS={folder / 'made'}")
    return folder / "made"


@pytest.fixture(scope="module")
def install(
    wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Installed]:
    """Installs a wheel with the pinned requirements of a file of deploy/requirements, and nothing else."""

    def made(name: str, requirements: str) -> Installed:
        (wheel,) = wheels.glob(f"{name}-*.whl")
        environment = tmp_path_factory.mktemp(name)
        call(UV, "venv", "--quiet", "--clear", "--python", sys.executable, environment)
        pip: list[str | Path] = [
            UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            environment / "bin/python",
        ]
        pinned = ROOT / "deploy/requirements" / requirements
        call(*pip, "--require-hashes", "-r", pinned)
        call(*pip, "--no-deps", wheel)
        return Installed(wheel, environment)

    return made


@pytest.fixture(scope="module")
def agent(install: Callable[[str, str], Installed]) -> Installed:
    return install("shoal_agent", "device.txt")


@pytest.fixture(scope="module")
def everything(install: Callable[[str, str], Installed]) -> Installed:
    return install("shoal", "demo.txt")


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_no_wheel_carries_sources_of_what_was_built(wheels: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        assert [name for name in names(wheel) if SOURCES.search(name)] == []
        assert any(name.endswith("/licenses/LICENSE") for name in names(wheel))


def test_the_agents_wheel_is_small_and_has_nothing_of_the_cloud(agent: Installed) -> None:
    tops = {name.split("/")[0] for name in names(agent.wheel) if ".dist-info/" not in name}
    assert tops == {"device_agent", "shoal", "shoal_task"}
    assert not [name for name in names(agent.wheel) if name.startswith("shoal/admin/")]
    assert agent.wheel.stat().st_size <= AGENT_WHEEL_BYTES_MAX
    assert sum(path.stat().st_size for path in agent.site.rglob("*")) <= DEVICE_BYTES_MAX
    missing = agent.run("python", "-c", "import cloud")
    assert "No module named 'cloud'" in missing.stderr
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "deploy/requirements/device.txt").read_text(), re.M)
    found = {path.name.split("-")[0].lower() for path in agent.site.glob("*.dist-info")}
    assert found == {pin.lower().replace("-", "_").replace(".", "_") for pin in pins} | {
        "shoal_agent"
    }


def test_the_agents_wheel_says_what_it_needs_and_runs(agent: Installed) -> None:
    checked = subprocess.run(
        [UV, "pip", "check", "--python", agent.environment / "bin/python"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    helped = agent.run("shoal-agent", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "enrol" in helped.stdout


def test_the_whole_wheel_has_the_console_that_was_built(everything: Installed) -> None:
    assert (everything.site / "cloud/console/dist/index.html").is_file()


async def test_an_agent_of_its_wheel_works_with_a_cloud_of_the_whole_wheel(
    agent: Installed, everything: Installed, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path, devices=1)
    fleet.cloud = LocalCloud(
        fleet.cloud.home,
        namespace=NAMESPACE,
        program=everything.program("shoal"),
        environment=FAST_SYNCS,
    )
    fleet.agents = [LocalAgent(fleet.agents[0].home, program=agent.program("shoal-agent"))]
    try:
        await fleet.start()
        release = await fleet.release(await fleet.publish(fleet.write_task()))

        async def installed() -> bool:
            return await fleet.installed(release) == 1

        async def counted() -> bool:
            runs = (await fleet.get("/overview"))["runs"]
            return bool(sum(row["runs"] for row in runs if row["outcome"] == "ok") == EVENTS)

        await fleet.until("the agent installed the task", installed)
        with FeederClient(fleet.agents[0].socket) as feeder:
            feeder.feed([Event(EVENT, b"some text", uid=bytes([n]) * 16) for n in range(EVENTS)])
        await fleet.until("its runs are counted", counted)
    finally:
        await fleet.stop()
