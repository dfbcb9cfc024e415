"""The keys that a server holds: everything below online/, read once at its start.

Rules of this module:

- Nothing outside online/ is read: a server that is broken into can neither publish a task nor change the root.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from securesystemslib.signer import CryptoSigner

from cloud.artifacts.tickets import TicketSigner
from cloud.keys.authority import CertificateAuthority
from cloud.keys.director import DirectorSigner
from cloud.keys.errors import KeysUnreadable
from cloud.keys.expiry import Expiry, Kind, certificate_expiry
from cloud.keys.files import load_tls_key, read_file
from cloud.keys.repository import TufRepository
from cloud.keys.settings import SETTINGS, KeySettings
from cloud.keys.successors import KeyFile


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineKeys:
    """What `shoal cloud serve` signs with.

    Attributes:
        director: Signs director documents.
        authority: Issues device and server certificates.
        tickets: Issues and checks tickets.
        repository: Signs snapshot and timestamp.
        first_metadata: Folder with the first TUF metadata.
        repository_file: Where the key of snapshot and timestamp and its successor lie.
        director_file: Where the director's key and its successor lie.
        tls: Server key and certificate chain, PEM.
    """

    director: DirectorSigner
    authority: CertificateAuthority
    tickets: TicketSigner
    repository: CryptoSigner
    first_metadata: Path
    repository_file: KeyFile
    director_file: KeyFile
    tls: tuple[bytes, bytes]

    @classmethod
    def load(cls, folder: Path, settings: KeySettings = SETTINGS) -> Self:
        """Reads the folder `online/`.

        Raises:
            KeysMissing: a file is not there.
            KeysUnreadable: a file is not what it should be.
        """
        try:
            certificate = x509.load_pem_x509_certificate(read_file(folder / "ca.crt"))
            tickets = TicketSigner(read_file(folder / "tickets.secret"))
        except ValueError as error:
            raise KeysUnreadable(f"{folder} holds a damaged file: {error}") from error
        director, repository = KeyFile(folder / "director.pem"), KeyFile(folder / "online.pem")
        return cls(
            director=DirectorSigner(director.current()),
            authority=CertificateAuthority(load_tls_key(folder / "ca.pem"), certificate, settings),
            tickets=tickets,
            repository=CryptoSigner(repository.current()),
            repository_file=repository,
            director_file=director,
            first_metadata=folder / "metadata",
            tls=(read_file(folder / "tls.pem"), read_file(folder / "tls.crt")),
        )

    def settle(self, repository: TufRepository) -> None:
        """Uses the keys that published metadata names; successors that it names take their place."""
        successor = self.repository_file.successor()
        if successor is not None:
            repository.offer(CryptoSigner(successor))
        self.repository_file.settle({repository.online_keyid})
        self.director.use(self.director_file.settle(repository.director_keyids()))

    def expiries(self) -> list[Expiry]:
        """When the CA's certificate and the stored server's expire."""
        return [
            certificate_expiry(Kind.CA, self.authority.certificate_pem),
            certificate_expiry(Kind.SERVER, self.tls[1]),
        ]

    def server_tls(self, hosts: Sequence[str]) -> tuple[bytes, bytes]:
        """Key and chain for servers reached by these names: the stored ones when they fit, else new ones."""
        leaf = x509.load_pem_x509_certificates(self.tls[1])[0]
        named = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {
            *named.get_values_for_type(x509.DNSName),
            *(str(address) for address in named.get_values_for_type(x509.IPAddress)),
        }
        return (
            self.tls
            if {_plain(host) for host in hosts} <= known
            else self.authority.issue_server(hosts)
        )


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
