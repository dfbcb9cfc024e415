"""All that an operator can do, as one value that the faces are built over."""

from dataclasses import dataclass

from cloud.admin.operations.audit import AuditOperations
from cloud.admin.operations.devices import DeviceOperations
from cloud.admin.operations.overview import OverviewOperations
from cloud.admin.operations.releases import ReleaseOperations
from cloud.admin.operations.tasks import TaskOperations
from cloud.admin.operations.tokens import TokenOperations
from cloud.admin.operations.trust import TrustOperations
from cloud.admin.settings import AdminSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The operations, by what they are about."""

    settings: AdminSettings
    tokens: TokenOperations
    tasks: TaskOperations
    releases: ReleaseOperations
    devices: DeviceOperations
    audit: AuditOperations
    overview: OverviewOperations
    trust: TrustOperations
