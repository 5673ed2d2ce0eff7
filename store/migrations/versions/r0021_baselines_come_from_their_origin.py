"""A baseline that is a copy of what was learned for another line comes from there, as those registered later do; where
the one was revoked, the other is frozen too (§21).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

PACK = "VOICEID_THRESHOLD_PACK_V1"
"""The only kind of which a baseline has content that may have been learned."""
BASELINE = "baseline"

LEDGER = sa.table(
    "artifacts_ledger",
    *(sa.column(name, sa.Text()) for name in ("tenant_id", "artifact_id", "artifact_type", "idempotency_key")),
    sa.column("package_hash", sa.LargeBinary()),
)
LINEAGE = sa.table(
    "gold_lineage", *(sa.column(name, sa.Text()) for name in ("tenant_id", "ancestor_ref", "descendant_ref"))
)
CASES = sa.table(
    "governance_cases",
    *(sa.column(name, sa.Text()) for name in ("tenant_id", "artifact_id", "frozen_by")),
    sa.column("proposers", sa.JSON()),
    *(sa.column(name, sa.LargeBinary()) for name in ("evidence", "report", "bundle", "verdict")),
)


def upgrade() -> None:
    """Link each, and freeze what has to be."""
    bind = op.get_bind()
    for copy in bind.execute(_copies()).all():
        tenant_id, baseline, learned = copy.tenant_id, copy.baseline, copy.learned
        edge = {"tenant_id": tenant_id, "ancestor_ref": _ref(learned), "descendant_ref": _ref(baseline)}
        if not bind.execute(sa.select(LINEAGE.c.tenant_id).where(*_equal(LINEAGE, edge))).first():
            bind.execute(sa.insert(LINEAGE).values(edge))
        frozen_by = bind.scalar(sa.select(CASES.c.frozen_by).where(*_case(tenant_id, learned)))
        if frozen_by:
            _freeze(tenant_id, baseline, frozen_by)


def _copies() -> sa.Select[Any]:
    """Tenant, baseline, and what was learned with the same content. A baseline led to nothing: no circle closes."""
    baseline, learned = LEDGER.alias("baseline"), LEDGER.alias("learned")
    origin, outcome = LINEAGE.alias("origin"), LINEAGE.alias("outcome")
    return sa.select(
        baseline.c.tenant_id, baseline.c.artifact_id.label("baseline"), learned.c.artifact_id.label("learned")
    ).where(
        baseline.c.artifact_type == PACK,
        baseline.c.idempotency_key == BASELINE,
        learned.c.tenant_id == baseline.c.tenant_id,
        learned.c.artifact_type == PACK,
        learned.c.idempotency_key != BASELINE,
        learned.c.package_hash == baseline.c.package_hash,
        sa.exists().where(
            origin.c.tenant_id == learned.c.tenant_id, origin.c.descendant_ref == "artifact:" + learned.c.artifact_id
        ),
        ~sa.exists().where(
            outcome.c.tenant_id == baseline.c.tenant_id, outcome.c.ancestor_ref == "artifact:" + baseline.c.artifact_id
        ),
    )


def _freeze(tenant_id: str, artifact_id: str, frozen_by: str) -> None:
    bind, which = op.get_bind(), _case(tenant_id, artifact_id)
    if bind.execute(sa.select(CASES.c.artifact_id).where(*which)).first():
        bind.execute(sa.update(CASES).where(*which, CASES.c.frozen_by == "").values(frozen_by=frozen_by))
        return
    nothing = dict.fromkeys(("evidence", "report", "bundle", "verdict"), b"")
    case = {"tenant_id": tenant_id, "artifact_id": artifact_id, "frozen_by": frozen_by, "proposers": []}
    bind.execute(sa.insert(CASES).values(**case, **nothing))


def _ref(artifact_id: str) -> str:
    return f"artifact:{artifact_id}"


def _case(tenant_id: str, artifact_id: str) -> list[sa.ColumnElement[bool]]:
    return _equal(CASES, {"tenant_id": tenant_id, "artifact_id": artifact_id})


def _equal(table: sa.TableClause, values: dict[str, str]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items()]
