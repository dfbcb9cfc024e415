"""`make demo`, as a reader runs it: it ends with exit 0, and every figure of its summary follows from another.

The folder is below build/: inside the checkout and ignored by Git, like the one that `make demo` takes by itself.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.examples.digits.demo.story import DEVICES, ROUNDS
from docs.examples.digits.measure import Z_95

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "test-demo"
# Half a minute where nothing else runs.
DEMO_SECONDS_MAX = 300
DIGITS = 360
SHARE = re.compile(r"([\d.]+)% \((\d+)/(\d+); 95 % interval ([\d.]+)% to ([\d.]+)%\)")


@dataclass(frozen=True, slots=True)
class Share:
    """A share as it was printed."""

    percent: float
    hits: int
    total: int
    low: float
    high: float


class Summary:
    """The rows of the summary, by their heading."""

    def __init__(self, output: str) -> None:
        box = output.partition("what happened")[2].partition("╰")[0]
        lines = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
        assert lines, f"no summary in:\n{output}"
        pairs = [re.split(r"\s{2,}", line, maxsplit=1) for line in lines]
        self.rows = [(pair[0], pair[-1]) for pair in pairs]

    def of(self, heading: str) -> list[str]:
        """Values of all rows with this heading."""
        return [value for found, value in self.rows if found == heading]

    def one(self, heading: str) -> str:
        """Value of the only row with this heading."""
        (value,) = self.of(heading)
        return value

    def share(self, heading: str) -> Share:
        """A share with its interval."""
        told = SHARE.fullmatch(self.one(heading))
        assert told, (heading, self.one(heading))
        percent, hits, total, low, high = told.groups()
        return Share(float(percent), int(hits), int(total), float(low), float(high))


@contextmanager
def demo(**variables: str) -> Iterator[subprocess.Popen[str]]:
    """`make demo` with these variables, in a process group of its own that ends with the block."""
    # Neither the width of this terminal nor the make that runs the tests may change what is printed.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    arguments = [f"{name}={value}" for name, value in {"DEMO": str(FOLDER), **variables}.items()]
    shutil.rmtree(FOLDER, ignore_errors=True)
    process = subprocess.Popen(
        ["make", "--no-print-directory", "demo", *arguments],
        cwd=ROOT,
        env={**environment, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_demo_ends_with_a_summary_whose_figures_agree() -> None:
    with demo() as process:
        output, _ = process.communicate(timeout=DEMO_SECONDS_MAX)
    assert process.returncode == 0, output
    summary = Summary(output)
    check_coverage(summary)
    check_counts(summary)
    check_accuracy(summary)
    assert re.search(r"^console \(.*\): http://127\.0\.0\.1:\d+/\S*#token=\S+$", output, re.M)
    assert not running_in(FOLDER), "the demo left processes behind"


def check_coverage(summary: Summary) -> None:
    """Both versions reached every device, one after the other, and the quantiles fit the curve."""
    for version in (1, 2):
        told = re.findall(r"(\d+) at ([\d.]+) s", summary.one(f"coverage of v{version}"))
        counts, seconds = [int(count) for count, _ in told], [float(at) for _, at in told]
        assert counts == sorted(set(counts)), counts
        assert counts[-1] == DEVICES
        assert seconds == sorted(seconds)
    quantiles = summary.of("release to installed")
    assert len(quantiles) == 2
    for text in quantiles:
        p50, p99 = (int(number) for number in re.findall(r"p\d+ (\d+) ms", text))
        assert 0 < p50 <= p99 < DEMO_SECONDS_MAX * 1000


def check_counts(summary: Summary) -> None:
    """Each digit was answered once, and each run is of a digit that was fed or of a reply."""
    told = re.fullmatch(r"(\d+) fed, (\d+) lost, (\d+) repeated", summary.one("digits"))
    assert told
    assert [int(count) for count in told.groups()] == [ROUNDS * DIGITS, 0, 0]
    escalations = int(summary.one("cloud escalations"))
    assert escalations > 0
    runs = [text.split() for version in (1, 2) for text in summary.of(f"runs of v{version}")]
    assert {outcome for _, outcome in runs} == {"ok"}
    assert sum(int(count) for count, _ in runs) == ROUNDS * DIGITS + escalations
    kept = [summary.share(f"v{version}: never left the device") for version in (1, 2)]
    assert sum(share.total - share.hits for share in kept) == escalations


def check_accuracy(summary: Summary) -> None:
    """Shares follow from their fractions and lie in their intervals; asking the cloud helps."""
    by_version = {}
    for version in (1, 2):
        names = ("device alone", "device and cloud", "never left the device")
        alone, both, kept = (summary.share(f"v{version}: {name}") for name in names)
        by_version[version] = alone
        assert alone.total == both.total == kept.total >= DIGITS
        assert alone.hits < both.hits, "what is escalated is what the device gets wrong most"
        for share in (alone, both, kept):
            check_share(share)
    assert sum(share.total for share in by_version.values()) == ROUNDS * DIGITS
    cloud = summary.share("cloud alone")
    check_share(cloud)
    assert cloud.total == DIGITS
    assert cloud.percent > by_version[1].high


def check_share(share: Share) -> None:
    assert share.percent == pytest.approx(100 * share.hits / share.total, abs=0.0501)
    assert share.low <= share.percent <= share.high
    # Wilson's interval is where the hits are Z standard deviations away from what its ends would give. An end is shown
    # to a tenth, so the true one lies half of that to either side.
    for end in {share.low, share.high} - {0.0, 100.0}:
        lower, upper = (_deviations(share, end + off) for off in (-0.05, 0.05))
        assert min(lower, upper) <= Z_95 <= max(lower, upper)


def _deviations(share: Share, percent: float) -> float:
    """How far the hits are from what a chance of so many percent gives, in standard deviations."""
    end = min(max(percent / 100, 1e-9), 1 - 1e-9)
    return float(abs(share.hits / share.total - end) / (end * (1 - end) / share.total) ** 0.5)


def test_kept_it_stays_up_until_ctrl_c() -> None:
    with demo(KEEP="1") as process:
        late = threading.Timer(DEMO_SECONDS_MAX, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        assert process.stdout is not None
        said = list(until_console(process.stdout))
        late.cancel()
        assert said[-1].startswith("console (stays up"), "".join(said)
        with urllib.request.urlopen(said[-1].split("): ")[1].strip(), timeout=10) as answer:
            assert b"<title>" in answer.read()
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert "Traceback" not in rest
    assert not running_in(FOLDER), "the demo left processes behind"


def until_console(lines: Iterable[str]) -> Iterator[str]:
    """Lines up to the one with the console's address."""
    for line in lines:
        yield line
        if line.startswith("console ("):
            return


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that were started on a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended a moment ago
        if any(word.startswith(bytes(folder)) for word in words[1:]):
            found.append(b" ".join(words).decode(errors="replace"))
    return found
