"""Documents and files as the agent's loop asks for them, from TUF metadata and the cloud's HTTPS face."""

from collections.abc import Sequence
from pathlib import Path

from device_agent.tasks.director import BundleFile, DirectorDocument, TaskInstruction
from device_agent.tasks.download import Downloader, Wanted
from device_agent.tasks.pull import DirectorReader, Puller
from device_agent.tasks.trust import TrustStore


class TrustedSupply:
    """Implements device_agent.agent.install.Supply for one device."""

    def __init__(
        self,
        *,
        trust: TrustStore,
        downloader: Downloader,
        device_id: str,
        namespace: str,
        quota_bytes: int,
    ) -> None:
        self._reader = DirectorReader(trust, device_id, namespace)
        self._puller = Puller(trust, downloader, namespace)
        self._downloader = downloader
        self._quota_bytes = quota_bytes

    async def verify(
        self, envelope: bytes, *, held: tuple[int, int] | None, now_ms: int
    ) -> DirectorDocument:
        """Reads a new document or refuses it with the error that names the reason."""
        return await self._reader.read(envelope, held=held, now_ms=now_ms)

    async def fetch(
        self, instruction: TaskInstruction, missing: Sequence[tuple[BundleFile, Path]], now_ms: int
    ) -> None:
        """Compares every file with its TUF target, then fetches the missing ones; a later call resumes."""
        await self._puller.check(instruction, now_ms)
        wanted = [
            Wanted(digest=file.digest, size=file.size, scope=file.scope, destination=destination)
            for file, destination in missing
        ]
        await self._downloader.fetch(wanted, quota_bytes=self._quota_bytes)
