import asyncio
from datetime import UTC, datetime

import pytest
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.audit import ROWS_PER_MINUTE, RefusalAudit, RefusedCall, actor_commitment
from servers.runtime.auth import Principal
from servers.runtime.clock import ManualClock

START = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = Principal("t-1", "alice", "phone-1", frozenset({"user"}))
SALT = b"salt"


class Ledger:
    def __init__(self) -> None:
        self.rows: list[RefusedCall] = []

    async def __call__(self, refused: RefusedCall) -> None:
        self.rows.append(refused)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def audit(ledger: Ledger, clock: ManualClock) -> RefusalAudit:
    return RefusalAudit(ledger, clock, "voiceid", SALT)


async def refuse(
    audit: RefusalAudit,
    principal: Principal | None = None,
    reason: reasons.ErrorReason = reasons.ERROR_REASON_TOKEN_MISSING,
) -> None:
    await audit.refused(reason, method="/s/M", principal=principal, correlation_id="c-1", turn_id="t-9")


async def test_a_refused_caller_leaves_a_row_that_names_nobody(audit: RefusalAudit, ledger: Ledger) -> None:
    await refuse(audit, ALICE, reasons.ERROR_REASON_TENANT_MISMATCH)
    [row] = ledger.rows
    assert row == RefusedCall(
        START,
        "voiceid",
        "/s/M",
        reasons.ERROR_REASON_TENANT_MISMATCH,
        "t-1",
        actor_commitment(SALT, ALICE),
        "c-1",
        "t-9",
    )
    assert "alice" not in repr(row)
    assert "phone-1" not in repr(row)


@pytest.mark.parametrize(
    "reason", [reasons.ERROR_REASON_FIELD_INVALID, reasons.ERROR_REASON_OVERLOADED, reasons.ERROR_REASON_STREAM_IDLE]
)
async def test_ordinary_failures_leave_no_row(audit: RefusalAudit, ledger: Ledger, reason: reasons.ErrorReason) -> None:
    await refuse(audit, ALICE, reason)
    assert ledger.rows == []


@pytest.mark.parametrize(
    "reason", [reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED, reasons.ERROR_REASON_SESSION_NOT_RESUMABLE]
)
async def test_replays_leave_a_row(audit: RefusalAudit, ledger: Ledger, reason: reasons.ErrorReason) -> None:
    await refuse(audit, ALICE, reason)
    assert len(ledger.rows) == 1


async def test_a_flood_becomes_one_counting_row_a_minute(
    audit: RefusalAudit, ledger: Ledger, clock: ManualClock
) -> None:
    for _ in range(10_000):
        await refuse(audit)
    assert len(ledger.rows) == ROWS_PER_MINUTE
    clock.advance(60)
    await refuse(audit)
    assert [row.count for row in ledger.rows[ROWS_PER_MINUTE:]] == [10_000 - ROWS_PER_MINUTE, 1]
    assert ledger.rows[ROWS_PER_MINUTE].reason == reasons.ERROR_REASON_TOKEN_MISSING


async def test_a_flood_of_one_tenant_does_not_hide_another(audit: RefusalAudit, ledger: Ledger) -> None:
    for _ in range(1000):
        await refuse(audit, ALICE, reasons.ERROR_REASON_TENANT_MISMATCH)
    await refuse(audit, Principal("t-2", "bob", "", frozenset()), reasons.ERROR_REASON_TENANT_MISMATCH)
    assert [row.tenant_id for row in ledger.rows].count("t-2") == 1


async def test_rows_stay_bounded_when_every_refusal_names_another_tenant(audit: RefusalAudit, ledger: Ledger) -> None:
    for number in range(5000):
        await refuse(audit, Principal(f"t-{number}", "x", "", frozenset()), reasons.ERROR_REASON_ROLE_REQUIRED)
    assert len(ledger.rows) <= 1024 + ROWS_PER_MINUTE
    written = len(ledger.rows)
    await audit.flush()
    assert sum(row.count for row in ledger.rows[written:]) == 5000 - written


async def test_stopping_writes_what_was_only_counted(audit: RefusalAudit, ledger: Ledger) -> None:
    for _ in range(ROWS_PER_MINUTE + 5):
        await refuse(audit)
    await audit.flush()
    assert ledger.rows[-1].count == 5


async def test_a_sink_that_fails_does_not_disturb_the_refusal(clock: ManualClock) -> None:
    calls = 0

    async def broken(_: RefusedCall) -> None:
        nonlocal calls
        calls += 1
        raise OSError("no space left on device")

    await refuse(RefusalAudit(broken, clock, "voiceid", SALT))
    assert calls == 1


async def test_a_sink_that_hangs_is_given_up(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.runtime.audit._SINK_TIMEOUT_S", 0.01)
    given_up = asyncio.Event()

    async def hanging(_: RefusedCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    await refuse(RefusalAudit(hanging, clock, "voiceid", SALT))
    assert given_up.is_set()


def test_commitments_tell_callers_apart_and_depend_on_the_salt() -> None:
    shifted = Principal("t-1a", "lice", "phone-1", frozenset())
    commitments = {
        actor_commitment(SALT, ALICE),
        actor_commitment(SALT, shifted),
        actor_commitment(b"other", ALICE),
        actor_commitment(SALT, Principal("t-1", "alice", "", frozenset())),
    }
    assert len(commitments) == 4
