"""`shoal keys …`: makes, saves and restores key folders of this machine; trust.py replaces keys of a running cloud."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cloud.admin.cli import trust
from cloud.admin.cli.errors import UsageWrong
from cloud.keys.backup import backup_keys, restore_keys
from cloud.keys.files import PASSPHRASE_VARIABLE
from cloud.keys.generate import init_keys
from device_agent.clock import SystemClock
from device_agent.tasks.names import Namespace

app = App(name="keys", help="Keys of a cloud and of its publishers, on this machine.")
for command in (trust.status, trust.renew, trust.revoke, trust.rotate):
    app.command(command)


@app.command
def init(
    folder: Path,
    *,
    namespace: Annotated[
        list[str], Parameter(name=["--namespace", "-n"], help="app/project, may repeat")
    ],
    host: Annotated[
        list[str] | None, Parameter(help="name or address that devices reach the cloud by")
    ] = None,
) -> None:
    """Make all keys; offline and publishing keys are encrypted when SHOAL_KEYS_PASSPHRASE is set."""
    names = [str(Namespace.parse(name)) for name in namespace]
    made = init_keys(
        folder,
        namespaces=names,
        hosts=("localhost", "127.0.0.1", *(host or [])),
        now_ms=SystemClock().wall_ms(),
        passphrase=os.environ.get(PASSPHRASE_VARIABLE) or None,
    )
    print(f"{made.path}/offline   root and targets keys: move them to where no server is")
    print(f"{made.path}/publish   publishing keys: for those who publish, never on the server")
    print(f"{made.path}/online    all that the server needs")


@app.command
def backup(folder: Path, file: Path) -> None:
    """Write all keys into one encrypted file; the passphrase is SHOAL_KEYS_PASSPHRASE."""
    backup_keys(folder, file, _passphrase())
    print(file)


@app.command
def restore(file: Path, folder: Path) -> None:
    """Unpack a backup into a folder that is not there yet."""
    restore_keys(file, folder, _passphrase())
    print(folder)


def _passphrase() -> str:
    found = os.environ.get(PASSPHRASE_VARIABLE, "")
    if not found:
        raise UsageWrong(f"set {PASSPHRASE_VARIABLE}: a backup of keys is always encrypted")
    return found
