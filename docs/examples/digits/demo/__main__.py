"""`make demo`: python -m docs.examples.digits.demo [--keep] [FOLDER]"""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.live import Live

from cloud.fleet.errors import ProcessFailed
from docs.examples.digits.demo.cloud_side import cloud_side
from docs.examples.digits.demo.story import Demo
from docs.examples.digits.demo.view import render, render_summary

REFRESH_SECONDS = 0.25


def main() -> int:
    """Runs the demo and gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"), help="made anew")
    parser.add_argument("--keep", action="store_true", help="leave cloud and devices running")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        shutil.rmtree(arguments.folder)
    console = Console()
    code = 1
    try:
        code = asyncio.run(play(Demo(arguments.folder.resolve()), console, keep=arguments.keep))
    except* ProcessFailed as group:
        for error in group.exceptions:
            Console(stderr=True).print(f"the demo failed: {error}", markup=False, highlight=False)
    return code


async def play(demo: Demo, console: Console, *, keep: bool) -> int:
    """Plays the story, shows it, and ends with the summary."""
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            showing = asyncio.create_task(_show(demo, live, console))
            try:
                summary = await demo.run(cloud_side)
            finally:
                showing.cancel()
        console.print(render_summary(summary, demo.board))
        state = "stays up; end with Ctrl-C" if keep else "ends now; make demo KEEP=1 keeps it"
        console.print(f"console ({state}): {summary.console}", soft_wrap=True, highlight=False)
        if demo.board.lost or demo.board.repeated:
            console.print("[bold red]events were lost or repeated[/]")
            return 1
        if keep:
            await _until_interrupted()
    finally:
        await demo.stop()
    return 0


async def _show(demo: Demo, live: Live, console: Console) -> None:
    """Redraws a terminal; without one, prints each new step as a line."""
    said = ""
    while True:
        if console.is_terminal:
            live.update(render(demo.state, demo.board), refresh=True)
        elif demo.state.step != said:
            said = demo.state.step
            console.print(f"▸ {said}", highlight=False)
        await asyncio.sleep(REFRESH_SECONDS)


async def _until_interrupted() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
