"""`shoal namespace …`: the namespaces of a cloud, and new ones while it runs."""

from cyclopts import App
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Targets

from cloud.admin.cli.output import field, show, show_rows, time_field
from cloud.admin.cli.trust import KeysFlag, PublishedTrust, offline_keys
from cloud.admin.cli.where import HERE, Where
from cloud.keys.publishing import Publisher, sign_namespace
from device_agent.clock import SystemClock
from device_agent.tasks.names import Namespace

app = App(name="namespace", help="Namespaces: list, add while the cloud runs.")
PATH = "/api/v1/namespaces"
NAMESPACE_COLUMNS = (
    field("NAMESPACE", "namespace"),
    field("EPOCH", "epoch"),
    time_field("CREATED (UTC)", "created_at_ms"),
)


@app.command(name="list")
def list_namespaces(*, where: Where = HERE) -> None:
    """Namespaces that the token is for, by name."""
    with where.client() as client:
        show_rows(client.items(PATH), NAMESPACE_COLUMNS, where.output)


@app.command
def add(namespace: str, /, *, keys: KeysFlag, where: Where = HERE) -> None:
    """Add a namespace: the offline targets key signs it in, its publishing key is made here."""
    name, offline = Namespace.parse(namespace), offline_keys(keys)
    signer = offline.targets_signer()
    with where.client() as client:
        current = PublishedTrust(client).role(Targets.type)
        metadata = Metadata[Targets].from_bytes(current)
        Publisher("shoal/targets", signer).check_own(metadata, Targets.type)
        delegations = metadata.signed.delegations
        roles: dict[str, str] = {}
        file = offline.publishing(str(name))
        if delegations is None or name.dotted not in (delegations.roles or {}):
            file.path.parent.mkdir(mode=0o700, exist_ok=True)
            key = file.current() if file.path.exists() else file.prepare()
            publisher = Publisher(str(name), CryptoSigner(key))
            signed = sign_namespace(signer, publisher, current, SystemClock().wall_ms())
            roles = {role: data.decode() for role, data in signed.roles.items()}
        made = client.post(PATH, {"namespace": str(name), "roles": roles})
        file.adopt()
    text = f"{name} is served; {file.path} publishes there: hand it to those who do"
    show(made, where.output, text)
