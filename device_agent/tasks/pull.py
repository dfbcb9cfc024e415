"""From a document to verified files: the steps of a pull, in their order, for the agent's loop.

Rules of this module:

- A document is read before anything it says is used; a key that is not known is looked for once in fresh metadata.
- Every file is compared with its TUF target before the first byte is fetched.
- A file lands at its own place below the folder that the agent chose, and nowhere else.
"""

from pathlib import Path, PurePosixPath

from device_agent.tasks.director import DirectorDocument, TaskInstruction
from device_agent.tasks.download import Downloader, Wanted
from device_agent.tasks.trust import TrustStore
from device_agent.tasks.trust_errors import SignatureInvalid, TargetMismatch
from device_agent.tasks.verify import check_files_against_targets, verify_director


class DirectorReader:
    """Reads documents for one device."""

    def __init__(self, trust: TrustStore, device: str, namespace: str) -> None:
        self._trust = trust
        self._device = device
        self._namespace = namespace

    async def read(
        self, envelope: bytes, *, held: tuple[int, int] | None, now_ms: int
    ) -> DirectorDocument:
        """Verifies a document; raises as `verify_director` and `TrustStore.refresh`."""
        try:
            return await self._verify(envelope, held, now_ms, refresh=False)
        except SignatureInvalid:
            # The director's key may have rotated since the metadata was fetched.
            return await self._verify(envelope, held, now_ms, refresh=True)

    async def _verify(
        self, envelope: bytes, held: tuple[int, int] | None, now_ms: int, *, refresh: bool
    ) -> DirectorDocument:
        return verify_director(
            envelope,
            keys=await self._trust.director_keys(now_ms, refresh=refresh),
            device=self._device,
            namespace=self._namespace,
            held=held,
            now_ms=now_ms,
        )


class Puller:
    """Fetches the files of instructions for one device."""

    def __init__(self, trust: TrustStore, downloader: Downloader, namespace: str) -> None:
        self._trust = trust
        self._downloader = downloader
        self._namespace = namespace

    async def check(self, instruction: TaskInstruction, now_ms: int) -> None:
        """Compares every file of an instruction with what TUF says of it.

        Raises:
            TargetUnknown, TargetMismatch: the director names something that was not published like this.
        """
        paths = [file.target for file in instruction.files]
        infos = await self._trust.targets(paths, now_ms)
        check_files_against_targets(instruction, self._namespace, infos)

    async def pull(
        self, instruction: TaskInstruction, folder: Path, *, quota_bytes: int, now_ms: int
    ) -> None:
        """Checks an instruction and fetches its files below `folder`; calling it again resumes."""
        await self.check(instruction, now_ms)
        wanted = [
            Wanted(
                digest=file.digest,
                size=file.size,
                scope=file.scope,
                destination=_place(folder, file.path),
            )
            for file in instruction.files
        ]
        for one in wanted:
            one.destination.parent.mkdir(parents=True, exist_ok=True)
        await self._downloader.fetch(wanted, quota_bytes=quota_bytes)


def _place(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise TargetMismatch(f"{path!r} is not a place in a bundle; nothing was fetched")
    return folder.joinpath(*parts)
