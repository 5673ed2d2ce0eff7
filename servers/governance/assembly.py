"""Puts the owner together: its services and the control loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selene.governance.v1 import service_pb2_grpc as governance_grpc

from servers.governance import NAME
from servers.governance.consent_service import ConsentsV1
from servers.governance.controller import Controller
from servers.governance.defect_service import DefectsV1
from servers.governance.service import GovernanceV1
from servers.governance.settings import GovernanceSettings
from servers.replays import Consumption
from servers.runtime.server import Runtime, Service


def assemble(runtime: Runtime, consumers: Mapping[str, Consumption]) -> Sequence[Service]:
    """The services of this owner. ConfigError."""
    settings = runtime.settings.owner_settings(NAME, GovernanceSettings)
    controller = Controller(runtime.store, runtime.clock, every_s=settings.look_every_s)
    runtime.on_stop(controller.stop)
    if settings.loops:
        controller.start()
    store, clock, ids = runtime.store, runtime.clock, runtime.ids
    return (
        Service(
            governance_grpc.add_GovernanceServiceServicer_to_server,
            GovernanceV1(store, clock, ids, consumers),
            "selene.governance.v1.GovernanceService",
        ),
        Service(
            governance_grpc.add_ConsentServiceServicer_to_server,
            ConsentsV1(store, clock),
            "selene.governance.v1.ConsentService",
        ),
        Service(
            governance_grpc.add_DefectServiceServicer_to_server,
            DefectsV1(store, clock, ids),
            "selene.governance.v1.DefectService",
        ),
    )
