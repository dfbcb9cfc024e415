"""Limits of the registry."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Limits.

    Attributes:
        files_max: Files of one upload.
        upload_bytes_max: Bytes of one upload, all files together.
        source_bytes_max: Bytes of one script.
        pythons: Programs of other Pythons that scripts are compiled for, beside the cloud's own.
        optimize: CPython's level of optimisation, 0 to 2.
        builds_kept_max: Builds that are kept in memory, so that a repeated upload compiles nothing.
        compile_seconds_max: Time that compiling all scripts of an upload may take.
        diff_lines_max: Lines of a diff that are shown.
        git_seconds_max: Time that one question to git may take.
    """

    files_max: int = 256
    upload_bytes_max: int = 32 * 1024 * 1024
    source_bytes_max: int = 1024 * 1024
    pythons: tuple[str, ...] = ()
    optimize: int = 0
    builds_kept_max: int = 64
    compile_seconds_max: float = 30.0
    diff_lines_max: int = 2000
    git_seconds_max: float = 10.0


SETTINGS = RegistrySettings()
