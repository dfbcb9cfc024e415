"""The flags that every command shares."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from cloud.admin.cli.client import RestClient
from cloud.admin.cli.context import find_context
from cloud.admin.cli.output import Format


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which cloud, as whom, and how to print.

    Attributes:
        address: URL of the admin REST API; else SHOAL_ADDRESS, else the configuration file.
        namespace: "app/project"; else SHOAL_NAMESPACE, else the configuration file.
        token_file: File that holds the token; else SHOAL_TOKEN, else the configuration file.
        output: table, json or yaml.
    """

    address: Annotated[str, Parameter(help="URL of the admin API [SHOAL_ADDRESS]")] = ""
    namespace: Annotated[
        str, Parameter(name=["--namespace", "-n"], help="app/project [SHOAL_NAMESPACE]")
    ] = ""
    token_file: Annotated[str, Parameter(help="file with the token, instead of SHOAL_TOKEN")] = ""
    output: Annotated[Format, Parameter(name=["--output", "-o"], help="how to print")] = (
        Format.TABLE
    )

    def client(self) -> RestClient:
        """A client of that cloud. Raises UsageWrong."""
        return RestClient(
            find_context(address=self.address, namespace=self.namespace, token_file=self.token_file)
        )


HERE = Where()
