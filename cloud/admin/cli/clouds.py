"""`shoal cloud …`: the database of a cloud, worked on from the machine that reaches it."""

from typing import Annotated

from cyclopts import App, Parameter

from cloud.store.schema import migrate as migrate_schema

app = App(name="cloud", help="A control plane: its schema.")


@app.command
def migrate(
    database_url: Annotated[str, Parameter(help="sqlite:///FILE or postgresql://…")],
) -> None:
    """Bring the schema to this version, under a lock; harmless when it is."""
    migrate_schema(database_url)
    print("the schema is current")
