"""What the ledger of a tenant holds before a case of governance begins: no RPC puts anything into it at once.

`STT_VOCAB_PACK@1` is active, `@2` is a candidate whose id is the tenant's name, and which mira's signal `evaluated`, by
the gold set of the same name, and two recorded turns led to; `@3` is one that `signal-1` led to as well.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_ACTIVE, ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.governance.v1.decision_pb2 import VerificationSuite

from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store
from store.gold import artifact_ref, signal_ref
from tests.support.learned import learned
from tests.support.live_packs import vocabulary
from tests.support.recorded import utterances
from tests.support.servers import settings_of

FOLDER: Final = "governance"
PACK: Final = "STT_VOCAB_PACK"
CONTENTS: Final = (vocabulary("one"), vocabulary("one", "two"))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


_PASSED: Final = {"passed": True, "evidence_ref": "gold:evaluated"}
_REPLAY: Final = _base64(hashlib.sha256(b"replay").digest())

GOVERNED: Final[dict[str, Any]] = {
    "evidence": {
        "policy": _PASSED,
        "privacy": _PASSED,
        "required_cohorts": ["language:en"],
        "cohort_results": [{"cohort": "language:en", "genuine_trials": 1000, "false_rejects": 10}],
        "evaluation_ref": "gold:evaluated",
    },
    "report": {
        "report_id": "report-1",
        "source_engines": ["PH1.C"],
        "signal_count": 500,
        "evidence_refs": ["gold:evaluated", "signal:evaluated"],
        "release_candidate": "rc-7",
        "verification": {field.name: _PASSED for field in VerificationSuite.DESCRIPTOR.fields},
        "expected_replay_hash": _REPLAY,
    },
    "proof": {
        "artifact_id": "$tenant",
        "artifact_type": PACK,
        "artifact_version": 2,
        "consumer_engine_id": "PH1.C",
        "consumer_capability_id": "stt.vocabulary",
        "apply_plan_hash": _base64(hashlib.sha256(b"plan").digest()),
        "replay_validation_hash": _REPLAY,
        "shadow_eval_result_ref": "shadow://1",
        "rollback_pointer_ref": f"{PACK}@1",
    },
    "parser": {"accepted": True, "package_hash": _base64(hashlib.sha256(CONTENTS[1]).digest())},
}
"""Messages that governance asks for, of the candidate. The proof still lacks its bundle, and it and the report what a
replay gives.
"""


async def prepare(data_dir: Path, tenants: Iterable[str]) -> None:
    """Fill the ledgers of these tenants, before the server is started."""
    clock = SystemClock()
    store = await open_store(settings_of(data_dir), clock, UuidV7Ids(clock))
    try:
        async with store.transaction() as tx:
            for tenant in tenants:
                scope = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=tenant)
                for number, content in enumerate(CONTENTS, start=1):
                    row = ArtifactRow(
                        artifact_id=tenant if number == 2 else f"{tenant}-1",
                        artifact_type=PACK,
                        tenant_id=tenant,
                        scope=scope,
                        provenance_ref="conformance",
                        created_by="PH1.KNOW",
                        idempotency_key=f"k-{number}",
                        status=ARTIFACT_STATUS_CANDIDATE if number == 2 else ARTIFACT_STATUS_ACTIVE,
                        rollback_pointer_ref=f"{PACK}@1" if number == 2 else "",
                    )
                    row = await tx.artifacts.register(row, content)
                await tx.artifacts.activate(PACK, tenant, scope, 1)
                await learned(tx, tenant, tenant, user="mira")
                # A candidate that would also learn from `signal-1`, once a case captures it.
                mending = ArtifactRow(
                    artifact_id=f"{tenant}-3",
                    artifact_type=PACK,
                    tenant_id=tenant,
                    scope=scope,
                    provenance_ref="conformance",
                    created_by="PH1.KNOW",
                    idempotency_key="k-3",
                    status=ARTIFACT_STATUS_CANDIDATE,
                    rollback_pointer_ref=f"{PACK}@1",
                )
                await tx.artifacts.register(mending, vocabulary("mended"))
                await learned(tx, tenant, mending.artifact_id, user="mira")
                await tx.gold.lineage.link(tenant, [signal_ref("signal-1")], artifact_ref(mending.artifact_id))
                await utterances(tx, row, "one more", "two more")
                what = "artifact.registered"
                tx.audit(tenant_id=tenant, owner="PH1.KNOW", actor="system", transition=what, reason_code="OK")
    finally:
        await store.close()
