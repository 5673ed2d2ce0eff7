"""Consumption proofs of an engine that loads packs (§19): worked out by its own process, handed in over the contract.

Where the gates of a pack of its types have passed up to its proof, the engine reads the payload by its own parser,
replays the recorded turns by it and by the version beside it, and tells governance what came of that, good or bad: once
for every gate bundle. Governance does the same for itself and takes nobody's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import grpc
import structlog
from pydantic import BaseModel, ConfigDict, Field
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionProof
from selene.governance.v1.service_pb2 import SubmitConsumptionProofRequest
from selene.governance.v1.service_pb2_grpc import GovernanceServiceStub

from servers.framing import framed_digest
from servers.pack_formats import FORMATS
from servers.replaying import replay
from servers.replays import Consumption
from servers.runtime.config import ConfigError
from servers.runtime.loops import repeat
from servers.runtime.peers import Peer, PeerSettings, TokenUnusable, configured_peer
from servers.runtime.server import Runtime
from store import Store
from store.governance import Unproved

SETTINGS: Final = "proofs"
CALL_S: Final = 30.0
AT_ONCE: Final = 20
"""Packs that a look proves; the others wait for the next."""
NO_EVIDENCE: Final = "nothing was recorded"

_DENIALS: Final = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
_log = structlog.get_logger("selene.proving")


class ProofSettings(BaseModel):
    """`owners.proofs`: whether the engines of this process prove what they consume, and where governance is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: bool = True
    look_every_s: float = Field(default=5.0, gt=0, le=3600, description="how often packs are looked for that want one")
    governance: PeerSettings = Field(default=PeerSettings(), description="where governance is")


class Prover:
    """Proves the packs of one engine. `peer` says where governance is and by which token; None where there is none."""

    def __init__(
        self, store: Store, engine_id: str, consumption: Mapping[str, Consumption], peer: Callable[[], Peer | None]
    ) -> None:
        self._store = store
        self._engine_id = engine_id
        self._consumption = consumption
        self._peer = peer
        self._denied: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, every_s: float) -> None:
        """Look again and again."""
        self._task = asyncio.ensure_future(repeat(self.tick, every_s, "packs were not proved"))

    async def stop(self) -> None:
        """Never again; what was not handed in is handed in by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tick(self) -> int:
        """Prove what wants a proof; how many were handed in. StoreUnavailable."""
        peer = self._peer()
        if peer is None:
            return 0
        types, most = tuple(self._consumption), AT_ONCE + len(self._denied)
        found = await self._store.governance.cases.unproved(types, most)
        # What governance did not take it will not take again: not asked for at every look, and in nobody's way.
        wanting = [each for each in found if each.gate_bundle_ref not in self._denied]
        self._denied.intersection_update({each.gate_bundle_ref for each in found})
        handed_in = 0
        for each in wanting:
            handed_in += await self._hand_in(peer, await self._proved(each))
        return handed_in

    async def _proved(self, wanting: Unproved) -> SubmitConsumptionProofRequest:
        row = wanting.row
        found = await replay(self._store, self._consumption, row)
        return SubmitConsumptionProofRequest(
            tenant_id=row.tenant_id,
            proof=ConsumptionProof(
                artifact_id=row.artifact_id,
                artifact_type=row.artifact_type,
                artifact_version=row.artifact_version,
                consumer_engine_id=self._engine_id,
                consumer_capability_id=FORMATS[row.artifact_type].capability_id,
                apply_plan_hash=plan_hash(self._engine_id, row),
                # What it refuses it has not replayed: a hash that nothing expects.
                replay_validation_hash=found.replay_hash or bytes(32),
                shadow_eval_result_ref=",".join(found.evidence_refs) or NO_EVIDENCE,
                rollback_pointer_ref=row.rollback_pointer_ref or "none",
                gate_bundle_ref=wanting.gate_bundle_ref,
            ),
            parser=found.parser,
            shadow=found.shadow,
            idempotency_key=f"{row.artifact_id}:{wanting.gate_bundle_ref[-64:]}",
        )

    async def _hand_in(self, peer: Peer, request: SubmitConsumptionProofRequest) -> bool:
        artifact = request.proof.artifact_id
        try:
            metadata = peer.metadata()
            async with peer.channel() as channel:
                stub = GovernanceServiceStub(channel)
                reply = await stub.SubmitConsumptionProof(request, metadata=metadata, timeout=CALL_S)
        except TokenUnusable as unusable:
            _log.warning("no proof", artifact=artifact, cause=str(unusable))
            return False
        except grpc.aio.AioRpcError as error:
            _log.warning("no proof", artifact=artifact, cause=error.code().name)
            if error.code() in _DENIALS:
                self._denied.add(request.proof.gate_bundle_ref)
            return False
        _log.info("proof handed in", owner=self._engine_id, artifact=artifact, passed=reply.verdict.passed)
        return True


def plan_hash(engine_id: str, row: ArtifactRow) -> bytes:
    """SHA-256 of how a pack is applied: the pointer of its line moves to it, and the engine's next call goes by it."""
    return framed_digest(
        engine_id, row.artifact_type, str(row.artifact_version), row.package_hash.hex(), "pointer moves"
    )


def open_prover(runtime: Runtime, engine_id: str, consumption: Mapping[str, Consumption]) -> None:
    """Prove what the engine consumes until the runtime stops. ConfigError."""
    settings = runtime.settings.owner_settings(SETTINGS, ProofSettings)
    try:
        configured = configured_peer(settings.governance)
    except OSError as error:
        raise ConfigError(f"owners.{SETTINGS}.governance: {error}") from None
    prover = Prover(runtime.store, engine_id, consumption, lambda: configured or runtime.peer("governance"))
    runtime.on_stop(prover.stop)
    if settings.loop:
        prover.start(settings.look_every_s)
