"""Signals through a real channel: taken once, refused by name, acknowledged when durable."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.common.v1.paging_pb2 import PageRequest
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE, GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import signal_pb2 as nouns

from clients.errors import SeleneError, from_rpc
from servers.learning.capturing import Rules, drain
from servers.learning.intake import TimeLimits
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER
from store import Transaction
from tests.servers.learning.conftest import Learning, Line
from tests.support.owners import serving
from tests.support.servers import TENANT
from tests.support.stores import audit

RULES = Rules(TimeLimits(skew_s=60, oldest_s=90 * 86_400, intake_s=86_400))
REQUIRED = [
    "signal_id",
    "correlation_id",
    "turn_id",
    "occurred_at",
    "tenant_id",
    "user_id",
    "device_id",
    "session_id",
    "source_engine_id",
    "source_capability_id",
    "reason_code",
    "input_ref",
    "output_ref",
    "outcome_label",
    "privacy_scope",
    "retention_class",
    "severity",
    "confidence_bp",
    "impact_estimate_bp",
    "idempotency_key",
    "domain",
    "signal_class",
    "capture_source",
]


async def capture(learning: Learning, one: nouns.LearningSignal, token: str = "") -> messages.CaptureResponse:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        reply: messages.CaptureResponse = await learning.stub().Capture(
            messages.CaptureRequest(signal=one), timeout=10.0, metadata=metadata
        )
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    return reply


async def refusal(learning: Learning, one: nouns.LearningSignal, token: str = "") -> SeleneError:
    with pytest.raises(SeleneError) as caught:
        await capture(learning, one, token)
    return caught.value


async def kept(learning: Learning) -> list[str]:
    rows = await learning.store.learning.signals.between(TENANT, 1, 10_000)
    assert await learning.store.learning.signals.first_unproved(TENANT) is None
    return [row.signal.signal_id for row in rows]


async def test_a_signal_is_durable_with_its_way_its_priority_and_its_audit_row(learning: Learning) -> None:
    one = learning.signal(severity=nouns.SEVERITY_HIGH, confidence_bp=10_000, impact_estimate_bp=10_000)
    reply = await capture(learning, one)
    captured = reply.captured
    assert (captured.signal, captured.intake_path, captured.sequence) == (one, nouns.INTAKE_PATH_DEFECT, 1)
    assert (captured.priority_bp, captured.frequency, reply.repeated) == (300, 0, False)
    assert await kept(learning) == ["signal-1"]
    [row] = [event for event in await learning.owners.trail() if event.transition == "signals.captured"]
    assert (row.owner, row.reason_code, row.idempotency_key) == ("PH1.FEEDBACK", "CAPTURED", "key-1")
    assert row.actor and "mira" not in str(row)


async def test_the_same_signal_again_gets_the_first_answer_even_when_it_is_too_late_by_then(
    learning: Learning,
) -> None:
    one = learning.signal()
    first = await capture(learning, one)
    learning.owners.clock.skip(2 * 86_400)
    again = await capture(learning, one)
    assert again.repeated and again.captured == first.captured
    late = await refusal(learning, learning.signal("2", moment=learning.now() - timedelta(days=2)))
    assert (late.reason, late.metadata) == ("SIGNAL_TIME_REFUSED", {"cause": "TOO_LATE", "limit_s": "86400"})


async def test_a_key_or_an_id_stands_for_one_signal(learning: Learning) -> None:
    await capture(learning, learning.signal())
    reused = await refusal(learning, learning.signal(impact_estimate_bp=1))
    assert (reused.reason, reused.metadata) == ("IDEMPOTENCY_KEY_REUSED", {"idempotency_key": "key-1"})
    taken = await refusal(learning, learning.signal(idempotency_key="other"))
    assert (taken.reason, [one.field for one in taken.violations]) == ("FIELD_INVALID", ["signal.signal_id"])
    assert await kept(learning) == ["signal-1"]


@pytest.mark.parametrize("name", REQUIRED)
def test_every_field_of_the_contract_is_missed(name: str) -> None:
    from tests.support.signals import signal

    one = signal()
    one.ClearField(name)  # type: ignore[arg-type]  # one of its fields
    broken = RULES.broken(one)
    assert broken is not None and [violation.field for violation in broken.violations] == [name]


async def test_what_breaks_a_rule_is_refused_and_nothing_moves(learning: Learning) -> None:
    now = learning.now()
    cases: list[tuple[dict[str, Any], str, dict[str, str]]] = [
        ({"consent_asserted": False}, "CONSENT_REQUIRED", {}),
        ({"signal_id": ""}, "FIELD_INVALID", {"violations": "1"}),
        ({"signal_class": nouns.SIGNAL_CLASS_RATING}, "FIELD_INVALID", {"violations": "1"}),
        ({"tenant": "other"}, "TENANT_MISMATCH", {}),
        ({"moment": now + timedelta(seconds=90)}, "SIGNAL_TIME_REFUSED", {"cause": "FUTURE", "limit_s": "60"}),
        ({"moment": now - timedelta(days=91)}, "SIGNAL_TIME_REFUSED", {"cause": "ANCIENT", "limit_s": "7776000"}),
    ]
    for fields, reason, metadata in cases:
        error = await refusal(learning, learning.signal(**fields))
        assert (error.reason, error.metadata) == (reason, metadata)
    beyond = learning.signal()
    beyond.occurred_at.seconds = 2**62
    assert [one.field for one in (await refusal(learning, beyond)).violations] == ["signal.occurred_at"]
    needs = await refusal(learning, learning.signal(), learning.token(ROLE_USER))
    assert (needs.reason, needs.metadata) == ("ROLE_REQUIRED", {"any_of": "operator,service"})
    foreign = await refusal(learning, learning.signal(), learning.token(ROLE_SERVICE, tenant="t2"))
    assert foreign.reason == "TENANT_MISMATCH"
    assert await kept(learning) == []


async def test_callers_at_once_share_commits_and_none_is_refused_for_another(learning: Learning) -> None:
    good = [learning.signal(f"g{number}") for number in range(30)]
    clash = learning.signal("clash", signal_id="signal-g0")
    replies = await asyncio.gather(*(capture(learning, one) for one in (*good, clash)), return_exceptions=True)
    failed = [reply for reply in replies if isinstance(reply, SeleneError)]
    assert len(failed) == 1 and failed[0].violations[0].field == "signal.signal_id"
    assert len(await kept(learning)) == 30


async def test_a_stream_acknowledges_and_names_what_it_refuses(learning: Learning) -> None:
    line = learning.line()
    assert await line.open() == 0
    first = learning.signal("1")
    sent = [
        first,
        learning.signal("2", user_id=""),
        learning.signal("3", consent_asserted=False),
        first,
        learning.signal("4", tenant="other"),
        learning.signal("5", moment=learning.now() + timedelta(hours=1)),
        learning.signal("1", severity=nouns.SEVERITY_HIGH),
        learning.signal("6", signal_id="signal-1"),
        learning.signal("7", signal_class=nouns.SIGNAL_CLASS_EVALUATION),
        learning.signal("8"),
    ]
    for sequence, one in enumerate(sent, start=1):
        await line.send(sequence, one)
    replies = await line.finish()
    assert replies[-1].acknowledged_through == 10
    assert sum(reply.taken for reply in replies) == 2
    assert sum(reply.repeated_count for reply in replies) == 1
    assert [(one.sequence, one.reason, list(one.fields)) for reply in replies for one in reply.refused] == [
        (2, "FIELD_INVALID", ["user_id"]),
        (3, "CONSENT_REQUIRED", []),
        (5, "TENANT_MISMATCH", []),
        (6, "SIGNAL_TIME_REFUSED", []),
        (7, "IDEMPOTENCY_KEY_REUSED", []),
        (8, "FIELD_INVALID", ["signal_id"]),
        (9, "FIELD_INVALID", ["capture_source"]),
    ]
    assert await kept(learning) == ["signal-1", "signal-8"]


async def test_a_stream_goes_on_after_what_it_acknowledged(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    for sequence in (1, 2, 3):
        await line.send(sequence, learning.signal(str(sequence)))
    await line.until(3)
    line.duplex.cancel()
    again = learning.line()
    assert await again.open() == 3
    await again.send(3, learning.signal("3"))
    await again.send(4, learning.signal("4"))
    replies = await again.finish()
    assert (sum(one.repeated_count for one in replies), replies[-1].acknowledged_through) == (1, 4)
    assert await kept(learning) == ["signal-1", "signal-2", "signal-3", "signal-4"]
    assert await learning.line("tablet").open() == 0


async def test_signals_of_one_message_are_taken_or_refused_one_by_one(learning: Learning) -> None:
    """More of them than are committed together, with alone ones before and after."""
    line = learning.line()
    await line.open()
    together = [learning.signal(str(number)) for number in range(2, 40)]
    together[3] = learning.signal("bad", reason_code="not a code")
    together[20] = learning.signal("nul", device_id="kit\0chen", session_id="s\0", user_id="")
    together[21] = together[0]
    await line.send(1, learning.signal("1"))
    await line.send_together(2, together)
    await line.send(40, learning.signal("40"))
    replies = await line.finish()
    assert replies[-1].acknowledged_through == 40
    assert (sum(one.taken for one in replies), sum(one.repeated_count for one in replies)) == (37, 1)
    assert [(one.sequence, one.reason, list(one.fields)) for reply in replies for one in reply.refused] == [
        (5, "FIELD_INVALID", ["reason_code"]),
        (22, "FIELD_INVALID", ["device_id", "session_id", "user_id"]),
    ]
    assert await kept(learning) == [f"signal-{number}" for number in range(1, 41) if number not in (5, 22, 23)]


async def test_a_stream_goes_on_in_the_middle_of_a_message(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send_together(1, [learning.signal(str(number)) for number in (1, 2, 3)])
    await line.until(3)
    line.duplex.cancel()
    again = learning.line()
    assert await again.open() == 3
    await again.send_together(2, [learning.signal(str(number)) for number in (2, 3, 4, 5)])
    replies = await again.finish()
    assert [(one.acknowledged_through, one.taken, one.repeated_count) for one in replies] == [(5, 2, 2)]
    assert await kept(learning) == [f"signal-{number}" for number in range(1, 6)]


async def test_a_message_of_several_that_comes_too_early_ends_the_stream(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send_together(2, [learning.signal("2"), learning.signal("3")])
    with pytest.raises(SeleneError) as caught:
        await line.finish()
    assert (caught.value.reason, caught.value.metadata) == (
        "STREAM_SEQUENCE_BROKEN",
        {"expected": "1", "received": "2"},
    )
    assert await kept(learning) == []


@pytest.mark.parametrize(
    ("first", "count", "field"), [(0, 1, "first_sequence"), (1, 0, "signals"), (1, 501, "signals")]
)
async def test_a_message_of_several_has_a_place_and_up_to_five_hundred(
    learning: Learning, first: int, count: int, field: str
) -> None:
    line = learning.line()
    await line.open()
    await line.send_together(first, [learning.signal()] * count)
    with pytest.raises(SeleneError) as caught:
        await line.finish()
    assert [one.field for one in caught.value.violations] == [f"signals.{field}"]


async def test_a_nul_refuses_its_signal_and_ends_no_stream(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send(1, learning.signal("1", idempotency_key="k\0"))
    await line.send(2, learning.signal("2"))
    replies = await line.finish()
    assert [(one.sequence, one.reason, list(one.fields)) for reply in replies for one in reply.refused] == [
        (1, "FIELD_INVALID", ["idempotency_key"])
    ]
    assert await kept(learning) == ["signal-2"]
    nul = RULES.broken(learning.signal(input_ref="\0"))
    assert nul is not None and [(one.field, one.rule) for one in nul.violations] == [("input_ref", "string.nul")]


async def test_a_gap_ends_the_stream_after_what_came_before_it(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send(1, learning.signal("1"))
    await line.send(3, learning.signal("3"))
    [acknowledged] = await line.until(1)
    assert acknowledged.taken == 1
    with pytest.raises(SeleneError) as caught:
        await line.finish()
    assert (caught.value.reason, caught.value.metadata) == (
        "STREAM_SEQUENCE_BROKEN",
        {"expected": "2", "received": "3"},
    )
    assert await kept(learning) == ["signal-1"]


@pytest.mark.parametrize("first", ["signal", "nothing"])
async def test_a_stream_begins_with_its_config(learning: Learning, first: str) -> None:
    line = learning.line()
    if first == "signal":
        await line.send(1, learning.signal())
    with pytest.raises(SeleneError) as caught:
        await line.finish()
    assert (caught.value.reason, caught.value.metadata) == ("STREAM_CONFIG_EXPECTED", {"message_index": "0"})


async def test_a_second_config_ends_the_stream_after_what_came_before_it(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send(1, learning.signal("1"))
    await line.duplex.write(messages.CaptureStreamRequest(config={"tenant_id": TENANT, "stream_id": "phone"}))
    await line.until(1)
    with pytest.raises(SeleneError) as caught:
        await line.finish()
    assert (caught.value.reason, caught.value.metadata) == ("STREAM_CONFIG_EXPECTED", {"message_index": "2"})
    assert await kept(learning) == ["signal-1"]


async def test_a_stream_of_another_tenant_is_refused(learning: Learning) -> None:
    with pytest.raises(SeleneError) as caught:
        await learning.line(tenant="other").open()
    assert caught.value.reason == "TENANT_MISMATCH"


async def test_whoever_sends_faster_than_the_store_takes_waits(learning: Learning) -> None:
    """The writer is held: beyond what the server reads ahead and the transport buffers, nothing can be sent."""
    line = learning.line()
    await line.open()
    sent = 0
    async with learning.store.transaction() as tx:
        audit(tx, TENANT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                while sent < 5_000:
                    await line.send(sent + 1, learning.signal(str(sent + 1), input_ref="x" * 500))
                    sent += 1
    assert 0 < sent < 1_000
    line.duplex.cancel()


async def test_a_stream_that_is_cut_loses_nothing_that_it_acknowledged(learning: Learning) -> None:
    line: Line = learning.line()
    await line.open()
    sending = asyncio.ensure_future(_send_many(learning, line))
    acknowledged = (await line.until(20))[-1].acknowledged_through
    line.duplex.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    position = await learning.line().open()
    assert position >= acknowledged
    assert (await kept(learning))[:position] == [f"signal-{number}" for number in range(1, position + 1)]


async def _send_many(learning: Learning, line: Line) -> None:
    for sequence in range(1, 400):
        if not await line.send(sequence, learning.signal(str(sequence))):
            return


async def test_a_server_that_stops_says_so_after_what_it_took(learning: Learning) -> None:
    line = learning.line()
    await line.open()
    await line.send(1, learning.signal("1"))
    await line.until(1)
    stopping = asyncio.ensure_future(learning.owners.running.stop(5.0))
    with pytest.raises(SeleneError) as caught:
        await line.reply()
    assert (caught.value.reason, caught.value.metadata) == ("NOT_SERVING", {"owner": "learning"})
    await stopping


async def test_signals_are_listed_the_most_urgent_first_a_page_at_a_time(learning: Learning) -> None:
    for number in range(1, 6):
        impact, user = 10_000 * (number % 3) // 3, "otto" if number == 5 else "mira"
        domain = GOLD_DOMAIN_PAE_ROUTE if number == 4 else GOLD_DOMAIN_VOICE_IDENTITY
        await capture(learning, learning.signal(str(number), impact_estimate_bp=impact, user_id=user, domain=domain))
    stub = learning.stub()
    names, token = [], ""
    while True:
        request = messages.ListSignalsRequest(tenant_id=TENANT, page=PageRequest(page_size=2, page_token=token))
        reply = await stub.ListSignals(request)
        names.append([one.signal.signal_id[-1] for one in reply.signals])
        token = reply.page.next_page_token
        if not token:
            break
    assert names == [["5", "2"], ["4", "1"], ["3"]]
    by_user = await stub.ListSignals(messages.ListSignalsRequest(tenant_id=TENANT, user_id="otto"))
    by_domain = await stub.ListSignals(messages.ListSignalsRequest(tenant_id=TENANT, domain=GOLD_DOMAIN_PAE_ROUTE))
    by_path = await stub.ListSignals(
        messages.ListSignalsRequest(tenant_id=TENANT, intake_path=nouns.INTAKE_PATH_DEFECT)
    )
    assert [[one.signal.signal_id[-1] for one in reply.signals] for reply in (by_user, by_domain, by_path)] == [
        ["5"],
        ["4"],
        [],
    ]


@pytest.mark.parametrize("place", ["x", "1", "1 x", "-1 2", "99999999999999999999 1"])
async def test_a_page_token_of_no_place_is_refused(learning: Learning, place: str) -> None:
    from servers.runtime.paging import PageTokens

    token = PageTokens("signals").token(place)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await learning.stub().ListSignals(
            messages.ListSignalsRequest(tenant_id=TENANT, page=PageRequest(page_token=token))
        )
    assert from_rpc(caught.value).reason == "PAGE_TOKEN_INVALID"


async def test_what_engines_left_is_taken_on_once_and_what_breaks_a_rule_is_told(learning: Learning) -> None:
    async def leave(tx: Transaction) -> None:
        left = [
            learning.signal("1"),
            learning.signal("2", consent_asserted=False),
            learning.signal("3", user_id=""),
            learning.signal("4", tenant="t2"),
        ]
        await tx.learning.outbox.put(left)
        audit(tx, TENANT)

    await learning.store.perform(leave)
    assert [await drain(learning.store, RULES), await drain(learning.store, RULES)] == [4, 0]
    assert await kept(learning) == ["signal-1"]
    assert await learning.store.learning.signals.size("t2") == 1
    [told] = [one for one in await learning.owners.trail() if one.transition == "signals.refused"]
    assert {fact.name: fact.value for fact in told.facts} == {"CONSENT_REQUIRED": "1", "FIELD_INVALID": "1"}
    await learning.store.perform(leave)
    await drain(learning.store, RULES)
    assert await kept(learning) == ["signal-1"]


async def test_what_engines_leave_is_taken_on_by_itself(tmp_path: Path) -> None:
    async with serving(["learning"], tmp_path, {"owners.learning.intake.outbox_every_s": 0.01}) as owners:
        learning = Learning(owners)

        async def leave(tx: Transaction) -> None:
            await tx.learning.outbox.put([learning.signal("1")])
            audit(tx, TENANT)

        await owners.store.perform(leave)
        for _ in range(1_000):
            if await owners.store.learning.signals.size(TENANT):
                break
            await asyncio.sleep(0.01)
        assert await kept(learning) == ["signal-1"]
        assert await owners.store.learning.outbox.waiting() == 0
