"""The `shoal` command: its groups, and how every command ends.

Rules of this module:

- Exit codes: 0 done, 1 failed, 2 usage, authorisation or connection, 3 a wait ran out of time.
- An error of ours is printed with code, message and hint; a fault of ours shows its traceback, never a lone word.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError
from rich.console import Console

from cloud.admin.cli import access, clouds, devices, keys, models, releases, tasks
from cloud.admin.cli.about import about
from cloud.admin.cli.output import EXIT_DONE, EXIT_TIMEOUT, EXIT_USAGE, Format, show_error
from device_agent.errors import ShoalError
from device_agent.vm.process import drain_and_exit

app = App(
    name="shoal",
    help="Release machine-learning tasks to fleets of devices, and watch them run there.",
    version=lambda: version("shoal"),
    help_on_error=False,
)
for group in (
    tasks.app,
    releases.app,
    devices.app,
    devices.kill,
    clouds.app,
    keys.app,
    models.app,
    access.tokens,
    access.audit,
):
    app.command(group)
app.command(about, name="*")


def asked_format(arguments: Sequence[str]) -> Format:
    """The output format that the arguments ask for, also when the rest of them is wrong."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, attached = flag.partition("=")
        if name in ("-o", "--output"):
            wanted = attached if equals else value
            return Format(wanted) if wanted in set(Format) else Format.TABLE
    return Format.TABLE


def run(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit code."""
    try:
        ended = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]USAGE[/] {error}", highlight=False)
        console.print(
            "  `shoal --help`, or --help after any command, shows what there is", highlight=False
        )
        return EXIT_USAGE
    except ShoalError as error:
        return show_error(error, asked_format(arguments))
    except KeyboardInterrupt:
        return EXIT_TIMEOUT
    except BrokenPipeError:
        return EXIT_DONE
    return ended if isinstance(ended, int) else EXIT_DONE


def main() -> None:
    """Entry point of the `shoal` command."""
    drain_and_exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
