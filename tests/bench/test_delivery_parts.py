"""What the delivery benchmark computes, and its mail server's ledger; nothing here is timed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from bench.delivery import accepting, backlog, draining, world
from bench.delivery.draining import Sample
from bench.delivery.mailserver import Ledger, Talk, Told


def samples(*points: tuple[float, int, float]) -> list[Sample]:
    return [Sample(*point) for point in points]


@pytest.fixture
async def spoken() -> AsyncIterator[tuple[Ledger, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the mail server, greeted."""
    ledger = Ledger()
    server = await asyncio.get_running_loop().create_server(lambda: Talk(ledger), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert (await reader.readline()).startswith(b"220")
    yield ledger, reader, writer
    writer.close()
    server.close()


def mail(message_id: str) -> bytes:
    return f"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nMessage-ID: {message_id}\r\n\r\nhello\r\n.\r\n".encode()


async def test_the_ledger_counts_each_mail_and_knows_which_came_twice(
    spoken: tuple[Ledger, asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    ledger, reader, writer = spoken
    writer.write(mail("<1@x>") + mail("<2@x>") + mail("<1@x>") + b"QUIT\r\n")
    answers = (await reader.read()).splitlines()
    assert [answer[:3] for answer in answers] == [b"250", b"250", b"354", b"250"] * 3 + [b"221"]
    assert ledger.told() == Told(accepted=3, distinct=2, duplicates=1, anonymous=0)


async def test_a_mail_that_comes_in_pieces_is_one_mail(
    spoken: tuple[Ledger, asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    ledger, reader, writer = spoken
    for byte in mail("<1@x>") + b"QUIT\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    await reader.read()
    assert ledger.told() == Told(1, 1, 0, 0)


async def test_a_mail_that_was_not_ended_was_not_taken(
    spoken: tuple[Ledger, asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    ledger, reader, writer = spoken
    writer.write(mail("<1@x>").removesuffix(b".\r\n"))
    writer.write_eof()
    assert (await reader.read()).endswith(b"354 go on\r\n")
    assert ledger.told().accepted == 0


def test_a_mail_without_an_id_of_its_own_in_its_header_is_counted_apart() -> None:
    ledger = Ledger()
    ledger.take(b"Subject: x\r\n\r\nMessage-ID: <quoted@x>\r\n")
    assert ledger.told() == Told(accepted=1, distinct=0, duplicates=0, anonymous=1)


def test_throughput_is_of_the_time_in_which_mails_were_taken() -> None:
    found = draining.throughput(samples((0, 0, 50), (2, 0, 50), (3, 100, 50), (5, 300, 50), (9, 300, 50)))
    assert found == 100


@pytest.mark.parametrize("points", [[], [(0.0, 0, 1.0)], [(0.0, 5, 1.0)]])
def test_nothing_that_moved_is_no_throughput(points: list[tuple[float, int, float]]) -> None:
    assert math.isnan(draining.throughput(samples(*points)))


def test_memory_that_was_taken_while_warming_up_is_no_growth() -> None:
    flat = [(float(at), at, 50.0 if at < 2 else 80.0) for at in range(8)]
    assert draining.grown(samples(*flat)) == 0
    rising = [(float(at), at, 10.0 * at + 10) for at in range(8)]
    assert draining.grown(samples(*rising)) == 40
    assert math.isnan(draining.grown(samples(*flat[:3])))


def test_cost_is_of_what_was_taken_between_the_first_mail_and_the_last() -> None:
    def costing(*points: tuple[int, float]) -> list[Sample]:
        return [Sample(float(at), accepted, 50.0, cpu_s) for at, (accepted, cpu_s) in enumerate(points)]

    # The half second before anything was taken went into coming up.
    assert draining.cpu_ms(costing((0, 0.5), (100, 0.7), (300, 1.1), (300, 1.1))) == pytest.approx(2.0)
    assert math.isnan(draining.cpu_ms(costing((0, 0.5), (100, 0.7))))


def test_the_course_of_a_backlog_has_each_of_its_steps_once() -> None:
    taken = samples((0, 0, 50), (1, 40, 51), (2, 60, 52), (3, 100, 53))
    assert backlog.course(taken, 100) == [[40, 1, None, 51], [60, 2, 20.0, 52], [100, 3, 40.0, 53]]
    assert backlog.course(taken[:3], 100) == [[40, 1, None, 51], [60, 2, 20.0, 52]]


def test_what_is_unknown_or_final_is_not_open() -> None:
    assert draining.open_in({"SENT_ACKED": 5, "UNKNOWN": 1, "EXPIRED": 2, "FAILED_DEFINITE": 1, "CANCELLED": 1}) == 0
    assert draining.open_in({"ACCEPTED": 1, "LEASED": 2, "SENDING": 4, "RETRYABLE": 8}) == 15


def test_a_share_of_no_rate_is_not_said() -> None:
    assert accepting.share(50, 100) == 0.5
    assert accepting.share(50, 0) is None


def test_intents_of_a_run_are_to_persons_of_their_own() -> None:
    made = [world.intent(number, "run") for number in range(100)]
    assert len({(each.message_id, each.recipient.recipient_id, each.recipient.address) for each in made}) == 100
    assert world.intent(7, "run") == world.intent(7, "run") != world.intent(7, "other")
