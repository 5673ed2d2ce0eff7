"""What one provider's calls say about its health (§24): sliding statistics in bounded memory, O(1) a call.

One bad caller must not take a provider from everybody, be it a tenant or one person of the only tenant that there is.
Both are told apart in 64 slots each, by CRC-32 of their name, and of the flaws that count towards a rate at most half
are one tenant's and at most half one person's: the surplus of whoever has the most flaws is left out, flaws and calls
alike, wherever the others made at least ten calls in the same window; of the two, what leaves out more holds. Where the
others made fewer, nobody can say that the provider is well, and everything counts. The run of failures is capped the
same way. p95 is the lowest of all calls' and of all but those of the tenant, or the person, with the most calls at or
beyond it. A schema that one prompt of one person breaks again and again is capped like any other flaw: that is in the
prompt until somebody else meets it. Policy conflicts, authentication failures and hard-blocks are the provider's own
doing and always count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf, log
from zlib import crc32

from selene.routing.v1.routing_pb2 import (
    MEASURE_AUTH_FAIL_EVENTS,
    MEASURE_COMPLAINT_RATE_500,
    MEASURE_ERROR_RATE_60S,
    MEASURE_HARD_BLOCK_EVENTS,
    MEASURE_P95_LATENCY_5M,
    MEASURE_POLICY_CONFLICT_COUNT_200,
    MEASURE_SCHEMA_INVALID_RATE_200,
    MEASURE_SEND_FAIL_RATE_100,
    MEASURE_TIMEOUT_RATE_60S,
    MEASURE_TRANSCRIPT_ACCEPT_RATE_200,
    Measure,
)

from servers.routing.thresholds import Reading

BASIS_POINTS = 10_000
CALLER_SLOTS = 64
"""Of tenants, and as many of persons."""
MIN_WITNESS_CALLS = 10
# Calls that wait are overdue beyond this many times what is usual, half a second at least: beyond that many times p95,
# where p95 rests on enough calls.
OVERDUE_P95S = 2.0
OVERDUE_LEAST_S = 0.5
OVERDUE_MIN_SAMPLES = 50
# So many overdue calls to a silent provider, answered after all within a minute, are usual for an hour.
LATE_ANSWERS = 12
LATE_WITHIN_S = 60.0
LATE_HOLDS_S = 3600.0
# A time that lies further back than this is a clock that was set back; less is calls that end out of order.
CLOCK_JUMP_S = 5.0

_WITHIN = "\0"
_TENANTS, _PERSONS = range(CALLER_SLOTS), range(CALLER_SLOTS, 2 * CALLER_SLOTS)
_SECONDS = 60
_SLICES, _SLICE_S = 20, 15
_FINE_MS, _FINE_UP_TO_MS = 25, 5_000
_COARSE_GROWTH = 1.05
_LONGEST_MS = 120_000
_FINE_BINS = _FINE_UP_TO_MS // _FINE_MS
_BINS = _FINE_BINS + ceil(log(_LONGEST_MS / _FINE_UP_TO_MS, _COARSE_GROWTH)) + 1


class Outcome(StrEnum):
    """How a call ended, as far as the provider's health goes. What the caller did itself (cancelled, asked for what
    cannot be) is no outcome and is not recorded.
    """

    OK = "OK"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    SCHEMA_INVALID = "SCHEMA_INVALID"
    POLICY_CONFLICT = "POLICY_CONFLICT"
    AUTH_FAIL = "AUTH_FAIL"
    HARD_BLOCK = "HARD_BLOCK"


# A refusal says nothing about how fast the provider answers; a time-out says that it took at least that long.
_TIMED = frozenset({Outcome.OK, Outcome.TIMEOUT, Outcome.SCHEMA_INVALID, Outcome.POLICY_CONFLICT})
_REPLIES = frozenset({Outcome.OK, Outcome.SCHEMA_INVALID, Outcome.POLICY_CONFLICT})


_Slots = tuple[int, int]
"""A tenant's and a person's."""


def caller_of(tenant_id: str, person: str) -> str:
    """The name of one person of a tenant, as calls are told apart by it."""
    return f"{tenant_id}{_WITHIN}{person}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that ended. `caller` is of `caller_of`, or a tenant's name where the owner tells nobody in it apart."""

    caller: str
    outcome: Outcome
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that is waited for, since so many seconds."""

    caller: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything that is measured at one instant; `consecutive_failures` is the run since the last success, `overdue`
    how many calls that began since then are waited for beyond what is usual.
    """

    readings: Mapping[Measure, Reading]
    consecutive_failures: int = 0
    overdue: int = 0


class Windows:
    """Statistics of one provider. At most 60 s of counts by 64 tenants and 64 persons, 5 min of a latency histogram in
    slices of 15 s, and the last 100, 200 or 500 calls. "The last 60 s" are between 59 and 60, "5 min" between 285 and
    300 s.
    """

    def __init__(self) -> None:
        self._late = _Late()
        self.reset()

    def reset(self) -> None:
        """Forget everything but how long answers may take: a circuit that becomes half-open is judged by its probes
        alone.
        """
        self._latest: float | None = None
        self._shift = 0.0
        self._calls = 0
        self._errors = _Minute()
        self._timeouts = _Minute()
        self._latencies = _Latencies()
        self._transcripts = _Ring(200)
        self._syntheses = _Ring(500)
        self._schemas = _Ring(200)
        self._conflicts = _Ring(200)
        self._sends = _Ring(100)
        self._run = _Tally()
        self._succeeded_at: float | None = None
        self._silent_at = -inf
        self._auth_fails = 0
        self._hard_blocks = 0

    def record(self, call: Call, now: float) -> None:
        """A call has ended."""
        at, slots, failed = self._instant(now), _slots(call.caller), call.outcome is not Outcome.OK
        self._calls += 1
        self._errors.add(at, slots, flawed=failed)
        self._timeouts.add(at, slots, flawed=call.outcome is Outcome.TIMEOUT)
        if call.outcome in _TIMED:
            self._latencies.add(at, slots, call.latency_ms)
        if call.outcome in _REPLIES:
            self._schemas.push(slots, flawed=call.outcome is Outcome.SCHEMA_INVALID)
            self._conflicts.push(slots, flawed=call.outcome is Outcome.POLICY_CONFLICT)
        self._sends.push(slots, flawed=failed)
        self._auth_fails += call.outcome is Outcome.AUTH_FAIL
        self._hard_blocks += call.outcome is Outcome.HARD_BLOCK
        if failed:
            self._run.add(slots, 1, 1)
        else:
            self._syntheses.push(slots, flawed=False)
            self._succeeded_at = at
            if at - call.latency_ms / 1000 < self._silent_at:
                self._late.add(at, call.latency_ms / 1000)
            if self._run.flaws:
                self._run = _Tally()

    def judge_transcript(self, caller: str, *, accepted: bool) -> None:
        """The owner's gate has accepted or refused a transcript."""
        self._transcripts.push(_slots(caller), flawed=not accepted)

    def complain(self, caller: str) -> bool:
        """A caller complains of its last synthesis that has no complaint yet; False where the last 500 hold none."""
        return self._syntheses.flaw_last(_slots(caller))

    def measures(self, now: float, waiting: Sequence[Waiting] = ()) -> Measures:
        """What the windows say now; `waiting` are the calls under way that wait for the provider and nobody else."""
        at = self._instant(now)
        self._errors.advance(at)
        self._timeouts.advance(at)
        self._latencies.advance(at)
        accepted = _capped_rate(self._transcripts.tally)
        conflicts = self._conflicts.tally
        readings = {
            MEASURE_TIMEOUT_RATE_60S: _capped_rate(self._timeouts.tally),
            MEASURE_ERROR_RATE_60S: _capped_rate(self._errors.tally),
            MEASURE_P95_LATENCY_5M: self._latencies.p95(),
            MEASURE_TRANSCRIPT_ACCEPT_RATE_200: Reading(BASIS_POINTS - accepted.value, accepted.samples),
            MEASURE_COMPLAINT_RATE_500: _capped_rate(self._syntheses.tally),
            MEASURE_SCHEMA_INVALID_RATE_200: _capped_rate(self._schemas.tally),
            MEASURE_POLICY_CONFLICT_COUNT_200: Reading(conflicts.flaws, conflicts.calls),
            MEASURE_SEND_FAIL_RATE_100: _capped_rate(self._sends.tally),
            MEASURE_AUTH_FAIL_EVENTS: Reading(self._auth_fails, self._calls),
            MEASURE_HARD_BLOCK_EVENTS: Reading(self._hard_blocks, self._calls),
        }
        return Measures(readings, self._consecutive(), self._overdue(at, waiting, readings[MEASURE_P95_LATENCY_5M]))

    def _overdue(self, at: float, waiting: Sequence[Waiting], p95: Reading) -> int:
        """A provider that is silent to all is dark; one that answers others while somebody waits is not."""
        if not waiting or p95.samples < OVERDUE_MIN_SAMPLES or self._succeeded_at is None:
            return 0
        usual_s = max(p95.value / 1000, self._late.usual_s(at))
        limit_s = max(OVERDUE_LEAST_S, OVERDUE_P95S * usual_s)
        tally = _Tally()
        for each in waiting:
            if limit_s < each.age_s < at - self._succeeded_at:
                tally.add(_slots(each.caller), 1, 1)
        overdue = tally.counted(self._errors.tally)
        if overdue >= LATE_ANSWERS:
            self._silent_at = at
        return overdue

    def _consecutive(self) -> int:
        return self._run.counted(self._errors.tally)

    def _instant(self, now: float) -> float:
        """Time that never goes back: a clock that was set back goes on from where it stood."""
        if self._latest is None:
            self._latest = now
        elif now < self._latest - CLOCK_JUMP_S:
            self._shift += self._latest - now
            self._latest = now
        self._latest = max(self._latest, now)
        return self._latest + self._shift


class _Tally:
    """Calls and flaws, in all and by caller."""

    def __init__(self) -> None:
        self.calls = self.flaws = 0
        self._slot_calls = [0] * 2 * CALLER_SLOTS
        self._slot_flaws = [0] * 2 * CALLER_SLOTS

    def add(self, slots: _Slots, calls: int, flaws: int) -> None:
        for slot in slots:
            self.change(slot, calls, flaws)

    def change(self, slot: int, calls: int, flaws: int) -> None:
        """Those of one of the two slots; in all they are counted with the tenant's."""
        if slot in _TENANTS:
            self.calls += calls
            self.flaws += flaws
        self._slot_calls[slot] += calls
        self._slot_flaws[slot] += flaws

    def counted(self, witnessed: _Tally) -> int:
        """The flaws without the surplus of one tenant or one person; the calls of others are `witnessed`."""
        return min(self._counted(witnessed, _TENANTS), self._counted(witnessed, _PERSONS))

    def _counted(self, witnessed: _Tally, among: range) -> int:
        worst = max(among, key=self._slot_flaws.__getitem__)
        if witnessed.calls - witnessed._slot_calls[worst] < MIN_WITNESS_CALLS:
            return self.flaws
        others = self.flaws - self._slot_flaws[worst]
        return others + min(self._slot_flaws[worst], others)


class _Minute:
    """The tally of the last 60 s, in buckets of a second."""

    def __init__(self) -> None:
        self.tally = _Tally()
        self._second: int | None = None
        self._buckets: list[dict[int, list[int]]] = [{} for _ in range(_SECONDS)]

    def add(self, at: float, slots: _Slots, *, flawed: bool) -> None:
        self.advance(at)
        bucket = self._buckets[int(at) % _SECONDS]
        for slot in slots:
            counts = bucket.setdefault(slot, [0, 0])
            counts[0] += 1
            counts[1] += flawed
        self.tally.add(slots, 1, int(flawed))

    def advance(self, at: float) -> None:
        second = int(at)
        for passed in _passed(self._second, second, _SECONDS):
            bucket = self._buckets[passed % _SECONDS]
            for slot, (calls, flaws) in bucket.items():
                self.tally.change(slot, -calls, -flaws)
            bucket.clear()
        self._second = second


class _Latencies:
    """A histogram of 5 min. A latency is told as the upper end of its bin: never less than it was, less than 25 ms more
    up to 5 s, at most 5 % more up to 120 s, and 120 s beyond. Bins end at multiples of 25 ms, so that the limits of
    §24 are decided exactly.
    """

    def __init__(self) -> None:
        self._slice: int | None = None
        self._slices: list[dict[tuple[int, int], int]] = [{} for _ in range(_SLICES)]
        self._bins = [0] * _BINS
        self._count = 0
        self._by_slot: dict[int, list[int]] = {}

    def add(self, at: float, slots: _Slots, latency_ms: float) -> None:
        self.advance(at)
        place = _bin(latency_ms)
        current = self._slices[int(at) // _SLICE_S % _SLICES]
        for slot in slots:
            key = (slot, place)
            current[key] = current.get(key, 0) + 1
            self._change(key, 1)

    def advance(self, at: float) -> None:
        now = int(at) // _SLICE_S
        for passed in _passed(self._slice, now, _SLICES):
            gone = self._slices[passed % _SLICES]
            for key, count in gone.items():
                self._change(key, -count)
            gone.clear()
        self._slice = now

    def p95(self) -> Reading:
        whole = _p95(self._bins)
        if whole is None:
            return Reading(0.0, 0)
        told = [(whole, self._count), *(self._without_slowest(whole, among) for among in (_TENANTS, _PERSONS))]
        place, count = min(told, key=lambda each: each[0])
        return Reading(_upper_end_ms(place), count)

    def _without_slowest(self, whole: int, among: range) -> tuple[int, int]:
        """p95 of all others and how many they are; of all calls where too few are others'."""
        held = [bins for slot, bins in self._by_slot.items() if slot in among]
        slowest = max(held, key=lambda bins: sum(bins[whole:]))
        others = [count - own for count, own in zip(self._bins, slowest, strict=True)]
        witnesses = sum(others)
        rest = _p95(others)
        return (whole, self._count) if rest is None or witnesses < MIN_WITNESS_CALLS else (rest, witnesses)

    def _change(self, key: tuple[int, int], count: int) -> None:
        slot, place = key
        if slot in _TENANTS:
            self._bins[place] += count
            self._count += count
        self._by_slot.setdefault(slot, [0] * _BINS)[place] += count


class _Late:
    """Calls that were waited for when their provider had fallen silent, and were answered after all: the least that one
    of them took, where they were enough. Who was taken for dark once, only for being slow, is not again.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._count = 0
        self._least_s = inf
        self._usual: tuple[float, float] | None = None

    def add(self, at: float, latency_s: float) -> None:
        if self._began is None or not 0 <= at - self._began < LATE_WITHIN_S:
            self._began, self._count, self._least_s = at, 0, inf
        self._count += 1
        self._least_s = min(self._least_s, latency_s)
        if self._count >= LATE_ANSWERS:
            self._usual = (at, self._least_s)

    def usual_s(self, at: float) -> float:
        """0 where nothing is known."""
        if self._usual is None or not 0 <= at - self._usual[0] < LATE_HOLDS_S:
            return 0.0
        return self._usual[1]


class _Ring:
    """The last calls, a fixed number of them."""

    def __init__(self, length: int) -> None:
        self.tally = _Tally()
        self._length = length
        self._entries: list[tuple[_Slots, bool]] = []
        self._next = 0

    def push(self, slots: _Slots, *, flawed: bool) -> None:
        if len(self._entries) < self._length:
            self._entries.append((slots, flawed))
        else:
            old_slots, old_flawed = self._entries[self._next]
            self.tally.add(old_slots, -1, -int(old_flawed))
            self._entries[self._next] = (slots, flawed)
        self._next = (self._next + 1) % self._length
        self.tally.add(slots, 1, int(flawed))

    def flaw_last(self, slots: _Slots) -> bool:
        count = len(self._entries)
        for back in range(1, count + 1):
            place = (self._next - back) % count if count == self._length else count - back
            if self._entries[place] == (slots, False):
                self._entries[place] = (slots, True)
                self.tally.add(slots, 0, 1)
                return True
        return False


def _slots(caller: str) -> _Slots:
    return _TENANTS[_slot(caller.partition(_WITHIN)[0])], _PERSONS[_slot(caller)]


def _slot(name: str) -> int:
    return crc32(name.encode("utf-8", "surrogatepass")) % CALLER_SLOTS


def _passed(before: int | None, now: int, length: int) -> range:
    """The places of a wheel that time has gone over and that hold what is too old."""
    return range(0) if before is None else range(max(before + 1, now - length + 1), now + 1)


def _rate(flaws: int, calls: int) -> Reading:
    return Reading(BASIS_POINTS * flaws / calls if calls else 0.0, calls)


def _capped_rate(tally: _Tally) -> Reading:
    flaws = tally.counted(tally)
    return _rate(flaws, tally.calls - (tally.flaws - flaws))


def _bin(latency_ms: float) -> int:
    if latency_ms <= _FINE_UP_TO_MS:
        return max(0, ceil(latency_ms / _FINE_MS) - 1)
    if not latency_ms < _LONGEST_MS:
        return _BINS - 1
    return min(_BINS - 1, _FINE_BINS + ceil(log(latency_ms / _FINE_UP_TO_MS, _COARSE_GROWTH)) - 1)


def _upper_end_ms(place: int) -> float:
    if place < _FINE_BINS:
        return float((place + 1) * _FINE_MS)
    return float(min(_LONGEST_MS, _FINE_UP_TO_MS * _COARSE_GROWTH ** (place - _FINE_BINS + 1)))


def _p95(bins: list[int]) -> int | None:
    """The bin of the nearest rank."""
    count = sum(bins)
    if count == 0:
        return None
    wanted = (95 * count + 99) // 100
    for place, held in enumerate(bins):
        wanted -= held
        if wanted <= 0:
            return place
    return len(bins) - 1
