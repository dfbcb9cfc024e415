"""The process stays whole while VMs come and go under load.

SHOAL_SOAK_SECONDS lengthens it, SHOAL_SOAK_VMS lets it run until so many VMs have come and gone, SHOAL_SOAK_SEED
replays one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import fuzz

ROOT = Path(__file__).parents[2]
VMS = int(os.environ.get("SHOAL_SOAK_VMS", "0"))
VMS_SECONDS_MAX = 4 * 3_600.0
SECONDS = VMS_SECONDS_MAX if VMS else float(os.environ.get("SHOAL_SOAK_SECONDS", "30"))
SEED = int(os.environ.get("SHOAL_SOAK_SEED", "20261123"))
GROWTH_MB_PER_VM_MAX = 0.4
MB_AFTER_10000_VMS_MAX = 6_000


@pytest.mark.slow
def test_no_crash_no_hang_and_bounded_growth(tmp_path: Path) -> None:
    program = [sys.executable, "-X", "faulthandler", "-m", "tests.soak.soak_main"]
    done = subprocess.run(
        [*program, str(SECONDS), str(SEED), str(VMS), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS + 90,
        check=False,
    )
    replay = f"SHOAL_SOAK_SECONDS={SECONDS} SHOAL_SOAK_VMS={VMS} SHOAL_SOAK_SEED={SEED}: {done.stderr[-4000:]}"
    running = "".join(path.read_text() for path in sorted(tmp_path.glob("*.py")))
    assert done.returncode == 0, replay + done.stdout[-2000:] + running
    print(done.stdout)
    seen = json.loads(done.stdout)
    assert seen["surprises"] == [], replay
    assert seen["live"] == 0, replay
    assert seen["quarantined_now"] == 0, replay
    assert seen["ended"] >= VMS, replay
    assert seen["killed"] > seen["seconds"] / 4, replay
    assert min(seen["rpcs"], seen["rows"], seen["products"]) > seen["seconds"], replay
    assert seen["resident_mb"] <= MB_AFTER_10000_VMS_MAX, replay
    assert seen["growth_mb_per_vm"] <= GROWTH_MB_PER_VM_MAX, (seen, replay)
    assert seen["mb_after_10000_vms"] <= MB_AFTER_10000_VMS_MAX, (seen, replay)
    assert set(seen["fuzzed"]) == set(fuzz.MODULES), (seen, replay)
