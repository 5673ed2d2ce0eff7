"""What the store holds before a case of drift begins, which no RPC puts there: it is computed from decisions of weeks.

Of mira three breaches, on the first three days of 2026, and a freeze; mira and noa are confused, as noa and zoe are.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from selene.learning.v1.drift_pb2 import (
    DRIFT_DETECTOR_FALSE_REJECTS,
    DRIFT_OUTCOME_FROZEN,
    DRIFT_RECOVERY_ADAPTATION,
)

from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store
from store.learning import Breach, Pair, Standing
from tests.support.servers import settings_of

FOLDER: Final = "drift"
SUBJECT: Final = "user:mira"


async def prepare(data_dir: Path, tenants: Iterable[str]) -> None:
    """Fill the rows of these tenants, before the server is started."""
    clock = SystemClock()
    store = await open_store(settings_of(data_dir), clock, UuidV7Ids(clock))
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    try:
        async with store.transaction() as tx:
            for tenant in tenants:
                for day in days:
                    await tx.learning.drift.note(
                        Breach(
                            tenant_id=tenant,
                            window_ends_at=day,
                            subject=SUBJECT,
                            detector=DRIFT_DETECTOR_FALSE_REJECTS,
                            user_id="mira",
                            recent=0.5,
                            reference=0.01,
                            samples=40,
                            recovery=DRIFT_RECOVERY_ADAPTATION,
                            outcome=DRIFT_OUTCOME_FROZEN,
                            decided_at=day,
                        )
                    )
                await tx.learning.drift.locked(tenant, SUBJECT)
                await tx.learning.drift.stands(tenant, SUBJECT, Standing(frozen=True))
                pairs = [Pair("noa", "zoe", 1, 9, days[0]), Pair("mira", "noa", 4, 2, days[1])]
                await tx.learning.confusion.replace(tenant, pairs)
                what = "drift.looked"
                tx.audit(tenant_id=tenant, owner="PH1.LEARN", actor="system", transition=what, reason_code="OK")
    finally:
        await store.close()
