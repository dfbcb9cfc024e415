"""A device that takes updates with the agent's own trust code, and shows what its disk holds.

device = UpdatingDevice(tmp_path, cloud)
await device.update(cloud.director.sign(document))
assert device.installed("digits") == {"code.bin": b"..."}
"""

from collections.abc import Mapping
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from device_agent.tasks.download import Downloader
from device_agent.tasks.fetch import Fetcher
from device_agent.tasks.names import device_id_of
from device_agent.tasks.proof import PURPOSE_EXCLUSIVE, make_proof
from device_agent.tasks.pull import DirectorReader, Puller
from device_agent.tasks.settings import DownloadSettings
from device_agent.tasks.trust import TrustStore
from tests.helpers.fake_repository import NAMESPACE, FakeRepository, FixedClock


class UpdatingDevice:
    """Reads a document, pulls its files, and keeps the old version until all are verified."""

    def __init__(
        self,
        folder: Path,
        cloud: FakeRepository,
        *,
        root: bytes | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.folder = folder
        self.clock = FixedClock()
        self.key = ec.generate_private_key(ec.SECP256R1())
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.id = device_id_of(spki)
        self.ticket = ""
        self.quota_bytes = 1 << 30
        self.held: tuple[int, int] | None = None
        link = fetcher or cloud.fetcher()
        self.trust = TrustStore(folder / "tuf", root or cloud.first_root, link, clock=self.clock)
        self.reader = DirectorReader(self.trust, self.id, NAMESPACE)
        self.puller = Puller(self.trust, self._downloader(link), NAMESPACE)
        for name in ("bundles", "staging"):
            (folder / name).mkdir(parents=True)

    async def update(self, envelope: bytes) -> None:
        """All or nothing for each task."""
        now_ms = self.clock.wall_ms()
        document = await self.reader.read(envelope, held=self.held, now_ms=now_ms)
        for instruction in document.tasks:
            staging = self.folder / "staging" / f"{instruction.task}-{instruction.version}"
            await self.puller.pull(
                instruction, staging, quota_bytes=self.quota_bytes, now_ms=now_ms
            )
            staging.rename(self.folder / "bundles" / staging.name)
        self.held = (document.epoch, document.issued_at_ms)

    def disk(self, *, under: str = "") -> Mapping[str, bytes]:
        """Every file, by path."""
        start = self.folder / under
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(start.rglob("*"))
            if path.is_file()
        }

    async def _credentials(self, _digest: str) -> dict[str, str]:
        content = self.ticket.encode()
        proof = make_proof(self.key, PURPOSE_EXCLUSIVE, content, self.clock.wall_ms())
        return {"shoal-ticket": self.ticket, "shoal-proof": proof}

    def _downloader(self, link: Fetcher) -> Downloader:
        settings = DownloadSettings(attempts=3, chunk_bytes=1024, throughput_window_ms=10_000)

        async def wait(seconds: float) -> None:
            self.clock.elapsed_ms += int(seconds * 1000)

        return Downloader(
            link,
            self.clock,
            Random(1),
            credentials=self._credentials,
            settings=settings,
            wait=wait,
        )
