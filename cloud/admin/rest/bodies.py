"""What callers send: fields and their types, unknown ones refused.

Rules of this module:

- How many stages and attributes there may be is said by what checks them (rollout, targeting), for every face.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PPM = 1_000_000
Ppm = Annotated[int, Field(ge=0, le=PPM)]
Reason = Annotated[str, Field(max_length=1024, description="Why; kept in the audit log.")]


class Body(BaseModel):
    """A body whose unknown fields are refused, so that a typing error is not an empty setting."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TargetingBody(Body):
    """Whom a release is for: each attribute must be equal; empty is all."""

    attributes: dict[str, str] = Field(default_factory=dict)


class StageBody(Body):
    """A share of the devices that match; promote_at_ppm 0 waits for promote."""

    share_ppm: Ppm
    promote_at_ppm: Ppm = 0


class NewReleaseBody(Body):
    """A new release; no stages is one of 100 %."""

    task: str
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]
    targeting: TargetingBody = Field(default_factory=TargetingBody)
    stages: list[StageBody] = Field(default_factory=list)
    rollback_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    start: bool = False


class CommandBody(Body):
    """start, pause, resume, abort, promote or roll_back."""

    command: str
    reason: Reason = ""
    rollback_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class ReasonBody(Body):
    """Why."""

    reason: Reason = ""


class EnrolmentBody(Body):
    """Codes that enrol one device each."""

    attributes: dict[str, str] = Field(default_factory=dict)
    valid_for_s: Annotated[int, Field(ge=1)] = 3600
    count: Annotated[int, Field(ge=1)] = 1


class KillBody(Body):
    """Stops a task, or frees it; an empty task is every task of the namespace."""

    task: str = ""
    killed: bool
    reason: Reason = ""


class TokenBody(Body):
    """A new operator's token."""

    actor: str
    scopes: Annotated[list[str], Field(min_length=1, max_length=16)]
    valid_for_s: Annotated[int, Field(ge=1)] | None = None


class PrepareBody(Body):
    """A bundle's source files by path, task.toml among them; content is base64."""

    files: Annotated[dict[str, str], Field(min_length=1)]
    source_commit: Annotated[str, Field(max_length=80)] | None = None


class NamespaceBody(Body):
    """A new namespace, with the top-level targets role and its own, signed."""

    namespace: Annotated[str, Field(max_length=130)]
    roles: Annotated[dict[str, str], Field(max_length=2)]


class TrustBody(Body):
    """Signed metadata; empty parts change nothing."""

    root: str = ""
    roles: dict[str, str] = Field(default_factory=dict, max_length=10_000)
    director_keys: Annotated[str, Field(max_length=65_536)] = ""


class PublishBody(Body):
    """Metadata of the namespace's and the task's role by name, signed with the publishing key."""

    roles: Annotated[dict[str, str], Field(min_length=1, max_length=4)]
