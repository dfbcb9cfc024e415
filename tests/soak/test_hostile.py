"""Programs that do not want to end, at random moments, two at once, beside a neighbour that must not notice.

SHOAL_HOSTILE_SECONDS is how long they run, SHOAL_HOSTILE_TIMES runs each so many times without a limit in time,
SHOAL_HOSTILE_SEED replays an order.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.hostile_programs import PROGRAMS

ROOT = Path(__file__).parents[2]
TIMES = os.environ.get("SHOAL_HOSTILE_TIMES", "")
SECONDS = 3_600.0 if TIMES else float(os.environ.get("SHOAL_HOSTILE_SECONDS", "30"))
SEED = int(os.environ.get("SHOAL_HOSTILE_SEED", "20261125"))
LATE_MS_MAX = 100.0
NEIGHBOUR_RATIO_MAX = 2.0


@pytest.mark.slow
def test_hostile_runs_end_in_time_and_the_neighbour_does_not_notice() -> None:
    program = [sys.executable, "-X", "faulthandler", "-m", "tests.soak.hostile_main"]
    done = subprocess.run(
        [*program, str(SECONDS), TIMES or "100", str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    replay = f"SHOAL_HOSTILE_TIMES={TIMES} SHOAL_HOSTILE_SEED={SEED}: {done.stderr[-4000:]}"
    assert done.returncode == 0, replay + done.stdout[-2000:]
    print(done.stdout)
    seen = json.loads(done.stdout)
    assert seen["faults"] == [], (seen, replay)
    assert (seen["left"], seen["live"], seen["quarantined_now"]) == (0, 0, 0), (seen, replay)
    assert min(seen["runs"].values()) >= (int(TIMES) if TIMES else 1), (seen, replay)
    late = {
        one.name: seen["late_ms"].get(one.name, 0.0) for one in PROGRAMS if one.ending == "python"
    }
    neighbour = seen["neighbour"]
    # Ending a run takes a few threads' turns; a quick call takes as many, and this is the longest that the machine let
    # one wait beside honest work.
    stall_ms = neighbour["worst_ms_beside_honest"]
    assert max(*late.values(), seen["gone_ms"]) <= LATE_MS_MAX + stall_ms, (late, seen, replay)
    noticed = neighbour["p99_ms_beside_hostile"] / neighbour["p99_ms_beside_honest"]
    assert noticed <= NEIGHBOUR_RATIO_MAX, (noticed, seen, replay)
