"""The client of signals against the real owner, over a link that is cut when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene_messages.selene.gold.v1 import GoldDomain
from selene_messages.selene.learning import v1

from clients.channel import connect
from clients.duplex import Duplex
from clients.errors import SeleneError
from clients.retry import RetryPolicy
from clients.signals import UNACKNOWLEDGED, Signals, SignalStream
from clients.wire import to_message
from tests.clients.conftest import Link
from tests.support.owners import Owners, serving
from tests.support.servers import TENANT
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.talking import Run, command

QUICK = RetryPolicy(first_wait=0.001, longest_wait=0.01)


@pytest.fixture
async def learning(quiet_log: None, tmp_path: Path) -> AsyncIterator[Owners]:
    async with serving(["learning"], tmp_path, {"owners.learning": {"intake": {"batch": 16}}}) as owners:
        yield owners


@pytest.fixture
async def cut(learning: Owners) -> AsyncIterator[Link]:
    """A link in front of the owner."""
    link = Link(learning.running.ports["learning"])
    await link.start()
    yield link
    await link.stop()


@pytest.fixture
def run(learning: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield command(learning, tmp_path, monkeypatch)


def one(name: str, **fields: Any) -> v1.LearningSignal:
    """A signal without tenant, that happened now."""
    return to_message(signal(name, **{"tenant": "", "moment": datetime.now(UTC), **fields}), v1.LearningSignal)


async def kept(learning: Owners) -> list[str]:
    rows = await learning.store.learning.signals.between(TENANT, 1, 100_000)
    assert await learning.store.learning.signals.first_unproved(TENANT) is None
    return [row.signal.signal_id for row in rows]


async def test_a_signal_is_captured_once_and_listed(learning: Owners) -> None:
    signals = Signals(learning.connection("learning"), policy=QUICK)
    told = one("1")
    first, again = await signals.capture(told), await signals.capture(told)
    assert (first.repeated, again.repeated) == (False, True)
    assert first.captured == again.captured
    await signals.capture(one("2", signal_class=v1.SignalClass.UNSAFE_OUTPUT))
    listed = [each.signal.signal_id async for each in signals.list(page_size=1) if each.signal]
    assert listed == ["signal-2", "signal-1"]
    defects = [each async for each in signals.list(intake_path=v1.IntakePath.DEFECT, user_id="mira")]
    assert [each.signal.signal_id for each in defects if each.signal] == ["signal-2"]
    assert [each async for each in signals.list(domain=GoldDomain.PAE_ROUTE)] == []


async def test_a_stream_tells_what_was_taken_and_names_what_was_refused(learning: Owners) -> None:
    signals = Signals(learning.connection("learning"), policy=QUICK)
    async with signals.stream("phone") as stream:
        same = one("1")
        for each in (same, one("2", consent_asserted=False), same, one("3", user_id="")):
            await stream.send(each)
        await stream.flush()
        assert (stream.unacknowledged, stream.acknowledged_through) == (0, 4)
        await stream.send(one("4"))
    assert (stream.told.taken, stream.told.repeated, stream.told.unheard) == (2, 1, 0)
    assert [(each.sequence, each.reason) for each in stream.told.refused] == [
        (2, "CONSENT_REQUIRED"),
        (4, "FIELD_INVALID"),
    ]
    async with signals.stream("phone") as stream:
        assert stream.acknowledged_through == 5
        assert await stream.send(one("5")) == 6
    assert await kept(learning) == ["signal-1", "signal-4", "signal-5"]


async def test_a_stream_goes_on_by_itself_after_each_cut_and_loses_nothing(learning: Owners, cut: Link) -> None:
    async with connect(cut.target) as connection, Signals(connection, policy=QUICK).stream() as stream:
        for number in range(300):
            await stream.send(one(str(number)))
            if number % 100 == 50:
                cut.cut()
    assert cut.cuts == 3
    assert await kept(learning) == [f"signal-{number}" for number in range(300)]
    told = stream.told
    assert told.taken + told.repeated + told.unheard == 300 and not told.refused


async def test_what_waits_shares_messages_and_none_is_longer_than_a_server_takes(
    learning: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    write = Duplex.write

    async def seen(call: Duplex, request: Any) -> bool:
        several = len(request.signals.signals) or int(request.HasField("signal"))
        sent.append((several, request.ByteSize()))
        return await write(call, request)

    monkeypatch.setattr(Duplex, "write", seen)
    async with Signals(learning.connection("learning"), policy=QUICK).stream() as stream:
        await stream.send(one("alone"))
        await stream.flush()
        for number in range(400):
            await stream.send(one(str(number), output_ref="\N{BLACK STAR}" * (512 if number % 7 == 0 else 1)))
        await stream.send(one("bad", reason_code="x" * 100_000))
        await stream.send(one("last"))
    (config, first, *rest) = sent
    assert (config[0], first[0], sum(count for count, _ in rest)) == (0, 1, 402)
    assert len(rest) < 10 and [size for count, size in rest if count > 1 and size > 64 * 1024] == []
    assert [(each.sequence, each.reason) for each in stream.told.refused] == [(402, "FIELD_INVALID")]
    assert await kept(learning) == ["signal-alone", *(f"signal-{number}" for number in range(400)), "signal-last"]


async def test_whoever_sends_more_than_is_acknowledged_waits(learning: Owners) -> None:
    signals = Signals(learning.connection("learning"), policy=QUICK)
    async with signals.stream() as stream:

        async def send() -> None:
            for number in range(UNACKNOWLEDGED + 200):
                await stream.send(one(str(number)))

        async with learning.store.transaction() as tx:
            audit(tx, TENANT)
            sending = asyncio.ensure_future(send())
            done, _ = await asyncio.wait([sending], timeout=1.5)
            assert not done and stream.unacknowledged == UNACKNOWLEDGED
        await sending
    assert len(await kept(learning)) == UNACKNOWLEDGED + 200


async def test_a_stream_that_is_refused_says_why_at_once(learning: Owners) -> None:
    signals = Signals(learning.connection("learning"), tenant_id="other", policy=QUICK)
    with pytest.raises(SeleneError) as caught:
        async with signals.stream():
            pytest.fail("it was opened")
    assert caught.value.reason == "TENANT_MISMATCH"


async def test_a_server_that_never_comes_back_is_given_up(learning: Owners, cut: Link) -> None:
    async with connect(cut.target) as connection:
        signals = Signals(connection, policy=QUICK)
        stream = SignalStream(connection, signals._stub, TENANT, "phone", QUICK, give_up_s=0.3)
        with pytest.raises(SeleneError) as caught:
            async with stream:
                await stream.send(one("1"))
                await stream.flush()
                await cut.stop()
                await stream.send(one("2"))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert (stream.unacknowledged, await kept(learning)) == (1, ["signal-1"])


async def test_an_error_within_the_block_is_not_waited_after(learning: Owners) -> None:
    signals = Signals(learning.connection("learning"), policy=QUICK)
    with pytest.raises(ZeroDivisionError):
        async with signals.stream():
            raise ZeroDivisionError


async def test_the_command_captures_and_lists(run: Run, learning: Owners) -> None:
    refused = await run("signals", "capture", "false_reject", "--user", "mira")
    assert refused.exit_code == 1 and "CONSENT_REQUIRED" in refused.stderr
    made = await run(
        "signals", "capture", "false_reject", "--user", "mira", "--consent", "--severity", "high", "--json"
    )
    assert made.exit_code == 0, made.stderr
    document = json.loads(made.stdout)["captured"]
    assert (document["intake_path"], document["signal"]["user_id"]) == ("INTAKE_PATH_DEFECT", "mira")
    shown = await run("signals", "list", "--path", "defect")
    assert "false_reject" in shown.stdout and "mira" in shown.stdout
    nothing = await run("signals", "list", "--domain", "tts_route", "--json")
    assert json.loads(nothing.stdout) == {"signals": []}
    unknown = await run("signals", "list", "--domain", "weather")
    assert unknown.exit_code == 2 and "voice_identity" in unknown.stderr
    assert (await run("signals", "capture", "happiness", "--consent")).exit_code == 2


async def test_the_command_imports_a_file_once_and_names_the_lines_that_were_refused(
    run: Run, learning: Owners, tmp_path: Path
) -> None:
    from google.protobuf import json_format

    moment = datetime.now(UTC)
    good = [signal(str(number), tenant="", moment=moment) for number in range(5)]
    bad = signal("bad", tenant="", moment=moment, consent_asserted=False)
    lines = [
        json_format.MessageToJson(each, preserving_proto_field_name=True, indent=None)
        for each in (*good[:2], bad, *good[2:])
    ]
    file = tmp_path / "signals.jsonl"
    file.write_text("\n".join([lines[0], "", *lines[1:]]) + "\n")
    first = await run("signals", "import", str(file), "--json")
    assert first.exit_code == 1, first.stderr
    assert json.loads(first.stdout) == {
        "taken": 5,
        "repeated": 0,
        "unheard": 0,
        "before": 0,
        "refused": [{"line": 4, "reason": "CONSENT_REQUIRED", "fields": []}],
    }
    again = await run("signals", "import", str(file))
    assert again.exit_code == 0 and "goes on after 6 signals" in again.stderr
    other = await run("signals", "import", str(file), "--stream", "by hand")
    assert "0 taken, 5 known before, 1 refused" in other.stdout and "line 4" in other.stdout
    assert await kept(learning) == [f"signal-{number}" for number in range(5)]
    file.write_text(lines[0] + '\n{"signal_id": 7}\n')
    broken = await run("signals", "import", str(file))
    assert broken.exit_code == 2 and "line 2" in broken.stderr
    assert (await run("signals", "import", str(tmp_path / "absent"))).exit_code == 2


async def test_what_is_listed_can_be_imported(run: Run, learning: Owners, tmp_path: Path) -> None:
    await run("signals", "capture", "retry", "--consent")
    listed = json.loads((await run("signals", "list", "--json")).stdout)["signals"]
    file = tmp_path / "signals.jsonl"
    file.write_text("\n".join(json.dumps(each["signal"]) for each in listed))
    again = json.loads((await run("signals", "import", str(file), "--json")).stdout)
    assert (again["taken"], again["repeated"], again["refused"]) == (0, 1, [])
