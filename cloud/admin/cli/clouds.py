"""`shoal cloud`: runs a cloud, brings its schema up to date, saves and restores its database."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cloud.server.home import Addresses, CloudHome
from cloud.server.parts import CloudParts
from cloud.server.serve import serve as run_cloud
from cloud.server.settings import ServerSettings, read_settings
from cloud.store.backup import backup_database, restore_database
from cloud.store.schema import migrate as migrate_database

app = App(name="cloud", help="Run a cloud.")
HomeFlag = Annotated[Path | None, Parameter(help="folder of keys, database and addresses.json")]


def _settings(home: Path | None, **flags: object) -> ServerSettings:
    config = flags.pop("config", None)
    assert config is None or isinstance(config, Path)
    return read_settings({"home": home, **flags}, os.environ, config)


@app.command
def serve(
    *,
    home: HomeFlag = None,
    namespace: Annotated[
        list[str] | None, Parameter(name=["--namespace", "-n"], help="app/project; repeat for more")
    ] = None,
    database_url: Annotated[str | None, Parameter(help="sqlite:///PATH or postgresql://…")] = None,
    bus_url: Annotated[str | None, Parameter(help="embedded: or redis://…")] = None,
    artifacts_url: Annotated[str | None, Parameter(help="file:///PATH or s3://…")] = None,
    host: Annotated[str | None, Parameter(help="where devices' sockets listen")] = None,
    admin_host: Annotated[str | None, Parameter(help="where operators' sockets listen")] = None,
    public_host: Annotated[str | None, Parameter(help="how devices reach this cloud")] = None,
    rest_port: int | None = None,
    admin_grpc_port: int | None = None,
    device_grpc_port: int | None = None,
    device_https_port: int | None = None,
    migrate: Annotated[bool | None, Parameter(help="bring the schema up to date first")] = None,
    otlp_endpoint: Annotated[str | None, Parameter(help="where traces go; empty: nowhere")] = None,
    log_level: str | None = None,
    log_human: Annotated[bool | None, Parameter(help="text instead of JSON")] = None,
    config: Annotated[Path | None, Parameter(help="TOML file of these settings")] = None,
) -> None:
    """Run a cloud in this process, until SIGTERM or Ctrl-C; an empty home gets keys and a first token."""
    settings = _settings(
        home,
        config=config,
        namespaces=tuple(namespace) if namespace else None,
        database_url=database_url,
        bus_url=bus_url,
        artifacts_url=artifacts_url,
        host=host,
        admin_host=admin_host,
        public_host=public_host,
        rest_port=rest_port,
        admin_grpc_port=admin_grpc_port,
        device_grpc_port=device_grpc_port,
        device_https_port=device_https_port,
        migrate=migrate,
        otlp_endpoint=otlp_endpoint,
        log_level=log_level,
        log_human=log_human,
    )
    asyncio.run(run_cloud(settings, announce=_announce))


def _announce(addresses: Addresses, parts: CloudParts) -> None:
    """Tells a person where it is; the token's file is named, the token itself printed only when it is new."""
    print(f"Shoal runs (process {addresses.pid}).")
    print(f"  REST     {addresses.rest}")
    print(f"  console  {addresses.console}")
    print(f"  devices  {addresses.device_grpc} and {addresses.device_https}")
    file = parts.home.admin_token
    if parts.new_owner:
        print(f"  The owner's token was made and lies in {file} (only you can read it).")
        if sys.stdout.isatty():
            print(f"  Open {addresses.console}#token={file.read_text().strip()}")
    print(
        f"  SHOAL_ADDRESS={addresses.rest} SHOAL_TOKEN=$(cat {file}) shoal device list", flush=True
    )


def _database_url(home: Path | None, database_url: str | None) -> str:
    if database_url:
        return database_url
    settings = _settings(home)
    return settings.database_url or CloudHome(settings.home).database_url


@app.command
def migrate(database_url: str | None = None, *, home: HomeFlag = None) -> None:
    """Bring the schema to this version, under a lock; harmless when it is."""
    migrate_database(_database_url(home, database_url))
    print("the schema is current")


@app.command
def backup(file: Path, *, home: HomeFlag = None, database_url: str | None = None) -> None:
    """Write the whole database into one checked file; the cloud may run meanwhile."""
    asyncio.run(backup_database(_database_url(home, database_url), file))
    print(f"the database is in {file}; `shoal keys backup` saves the keys")


@app.command
def restore(file: Path, *, home: HomeFlag = None, database_url: str | None = None) -> None:
    """Fill an empty database from a backup; into SQLite or PostgreSQL, whichever it came from."""
    asyncio.run(restore_database(file, _database_url(home, database_url)))
    print("the database is restored; device epochs go on from now")
