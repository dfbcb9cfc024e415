"""What can be wrong with a task: its names, its manifest, its files, its bytecode.

The tree, by whose fault it is:

    ShoalError
    └── TaskError
        ├── NameInvalid               caller's: a name, digest or path that breaks the rules of names.py
        ├── ManifestInvalid           caller's: task.toml, with every problem listed
        ├── BundleInvalid             caller's: the files of a bundle do not fit each other
        ├── BytecodeInvalid           outside's: code.bin is cut, damaged or of an unknown version
        └── BytecodeForAnotherPython  peer's: code.bin was compiled for another interpreter
"""

from dataclasses import dataclass
from typing import ClassVar

from device_agent.errors import ShoalError


class TaskError(ShoalError):
    """Any error of this package."""

    code: ClassVar[str] = "TASK_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class NameInvalid(TaskError):
    """A name, digest or path breaks the rules of names.py."""

    code: ClassVar[str] = "NAME_INVALID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a manifest.

    Attributes:
        field: Dotted place, e.g. "limits.wall_ms" or "triggers[0].event".
        line: Line of task.toml, from 1; None when the field is missing or the source was JSON.
        message: What is wrong and how to mend it.
    """

    field: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}{self.field}: {self.message}"


class ManifestInvalid(TaskError):
    """A manifest was refused; `problems` has everything that is wrong, in order of the file."""

    code: ClassVar[str] = "MANIFEST_INVALID"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"the manifest has {count}; mend task.toml and try again\n{lines}")


class BundleInvalid(TaskError):
    """The files of a bundle are too many, too big, badly named, or do not fit the manifest."""

    code: ClassVar[str] = "BUNDLE_INVALID"


class BytecodeInvalid(TaskError):
    """code.bin is cut, damaged, too big or of an unknown version."""

    code: ClassVar[str] = "BYTECODE_INVALID"
    status: ClassVar[str] = "DATA_LOSS"


class BytecodeForAnotherPython(TaskError):
    """code.bin was compiled for another interpreter than the one that shall run it."""

    code: ClassVar[str] = "BYTECODE_FOR_ANOTHER_PYTHON"
    status: ClassVar[str] = "FAILED_PRECONDITION"
