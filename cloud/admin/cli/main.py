"""The `shoal` command: its groups, and how every command ends.

Rules of this module:

- Exit codes: 0 done, 1 failed, 2 usage, authorisation or connection, 3 a wait ran out of time.
- An error of ours is printed with code, message and hint, and so is a file that cannot be read or written; a fault of
  ours shows its traceback, never a lone word.
- Wrong usage comes in the envelope, too, when one was asked for.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, MissingArgumentError

from cloud.admin.cli.errors import FileFailed, UsageWrong
from cloud.admin.cli.output import EXIT_DONE, EXIT_TIMEOUT, Format, show_error
from device_agent import failpoint
from device_agent.errors import ShoalError
from device_agent.vm.process import drain_and_exit

app = App(
    name="shoal",
    help="Release machine-learning tasks to fleets of devices, and watch them run there.",
    version=lambda: version("shoal"),
    help_on_error=False,
)
# Loaded when it is called: a release command does not wait for the database library, a key command for ONNX.
GROUPS = {
    "task": ("cloud.admin.cli.tasks:app", "Tasks: write, try, publish, compare."),
    "release": ("cloud.admin.cli.releases:app", "Bring versions to devices in stages."),
    "device": ("cloud.admin.cli.devices:app", "Devices: list, explain, revoke, forget, enrol."),
    "kill": ("cloud.admin.cli.devices:kill", "Stop a task, or all, everywhere, at once."),
    "keys": ("cloud.admin.cli.keys:app", "Keys of a cloud and of its publishers."),
    "model": ("cloud.admin.cli.models:app", "Models: compile, look at."),
    "namespace": ("cloud.admin.cli.namespaces:app", "Namespaces: list, add."),
    "token": ("cloud.admin.cli.access:tokens", "API tokens of people and services."),
    "audit": ("cloud.admin.cli.access:audit", "The log of every change."),
    "cloud": ("cloud.admin.cli.clouds:app", "A cloud: run it, migrate, back up, restore."),
    "explain": ("cloud.admin.cli.about:explain", "Say what an error code means."),
    "doctor": ("cloud.admin.cli.about:doctor", "Say what is wrong here, or with the cloud."),
}
for group, (place, says) in GROUPS.items():
    app.command(place, name=group, help=says)


def asked_format(arguments: Sequence[str]) -> Format:
    """The output format that the arguments ask for, also when the rest of them is wrong."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, attached = flag.partition("=")
        if name in ("-o", "--output"):
            wanted = attached if equals else value
            return Format(wanted) if wanted in set(Format) else Format.TABLE
    return Format.TABLE


def _usage(error: CycloptsError) -> str:
    """What is wrong, in the words of the help, and how to get the help that fits."""
    command = " ".join(["shoal", *(error.command_chain or ())])
    says = str(error)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        wanted = error.argument.names[0] if error.argument.names else error.argument.name
        if error.argument.field_info.is_positional:
            wanted = error.argument.name.lstrip("-").replace("-", "_").upper()
        says = f"{wanted} is missing"
    return f"{says.rstrip('.')}; `{command} --help` shows what there is"


def run(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit code."""
    try:
        ended = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return show_error(UsageWrong(_usage(error)), asked_format(arguments))
    except ShoalError as error:
        return show_error(error, asked_format(arguments))
    except KeyboardInterrupt:
        return EXIT_TIMEOUT
    except BrokenPipeError:
        return EXIT_DONE
    except OSError as error:
        if error.filename is None:  # no file of the caller's: a fault of ours
            raise
        return show_error(
            FileFailed(
                f"{error.filename}: {error.strerror or error}: name another place, or mend it"
            ),
            asked_format(arguments),
        )
    return ended if isinstance(ended, int) else EXIT_DONE


def main() -> None:
    """Entry point of the `shoal` command."""
    failpoint.arm_from_environment(os.environ)
    drain_and_exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
