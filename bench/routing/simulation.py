"""(c) 10,000 hours of providers' behaviour in about two minutes: what must never happen to a circuit, looked for.

Days of 24 h, each a deployment of its own from its seed (`bench.routing.world`): what a violation names can be replayed
with ``python -m bench.routing c --seed``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.report import Report, Table, Target
from bench.routing.behaviour import DOWN
from bench.routing.checks import Check, Violation
from bench.routing.world import Fall, Tally, World
from bench.stats import Spread

HOURS: Final = 10_000.0
QUICK_HOURS: Final = 480.0
DAY_H: Final = 24.0
SHOWN: Final = 20

_CHECKED: Final = {
    Check.FLAP: "flaps faster than the cooldown, with its doublings",
    Check.SURPLUS_PROBE: "probes beyond the count",
    Check.UNPROVEN_RETURN: "returns without all probes answered",
    Check.STUCK: "circuits stuck: a state not left, or not closed although healthy under traffic",
    Check.BACKOFF_BEYOND: "cooldowns beyond the longest",
    Check.UNSERVED: "calls without a provider although a circuit was closed",
    Check.TRIP_WITHOUT_FLAW: "trips without one bad answer since the probes",
    Check.KEPT_ILL: "providers kept without a good answer for seven minutes",
}


def measure(say: Callable[[str], None], *, quick: bool = False, seed: int | None = None) -> Report:
    """Simulate and report; with `seed` the one day of that seed."""
    hours = DAY_H if seed is not None else QUICK_HOURS if quick else HOURS
    first = seed or 0
    tallies: list[tuple[int, Tally]] = []
    left = hours
    while left > 0:
        tallies.append((first + len(tallies), World(first + len(tallies), hours=min(DAY_H, left)).run()))
        left -= DAY_H
        if len(tallies) % 100 == 0:
            say(f"{hours - max(0.0, left):,.0f} hours")
    return _report(hours, tallies)


def _report(hours: float, tallies: Sequence[tuple[int, Tally]]) -> Report:
    days = [tally for _, tally in tallies]
    found = [(seed, violation) for seed, tally in tallies for violation in tally.violations]
    counts = Counter(violation.check for _, violation in found)
    totals = _totals(days)
    report = Report("c", f"{hours:,.0f} simulated hours of three providers, by seed")
    report.notes.append(
        "Probes and cooldowns are seen from outside, in true time; cooldowns are longer than 900 s by the time until "
        "the next evaluation, by pauses of all processes and by clocks that were set back."
    )
    rows: list[Sequence[str | int | float | None]] = [["hours", int(hours)]]
    rows += [[name, value] for name, value in totals.items()]
    report.tables.append(Table("What happened", ("what", "count"), rows))
    falls = [fall for tally in days for fall in tally.falls]
    report.tables.append(
        Table(
            "From hard-down to the last call sent to it, at 50 calls/s (probes apart)",
            ("provider, processes", "times", "p50 s", "p99 s", "max s"),
            [_row(f"{illness.lower()}, {count}", falls, illness, count) for illness in DOWN for count in (1, 2, 3)],
        )
    )
    if found:
        report.tables.append(
            Table(
                f"Violations, the first {SHOWN}",
                ("check", "seed", "at s", "provider", "what"),
                [[one.check, str(seed), f"{one.at:.2f}", one.provider, one.detail] for seed, one in found[:SHOWN]],
            )
        )
    report.targets = [Target(name, 0, counts[check], "") for check, name in _CHECKED.items()]
    report.data = {
        "hours": hours,
        "totals": totals,
        "falls": [asdict(fall) for fall in falls],
        "violations": [_violation(seed, violation) for seed, violation in found],
    }
    return report


def _totals(days: Iterable[Tally]) -> dict[str, int | float]:
    days = list(days)
    return {
        "calls": sum(tally.calls for tally in days),
        "attempts": sum(tally.attempts for tally in days),
        "probes": sum(tally.probes for tally in days),
        "calls without a provider": sum(tally.without_provider for tally in days),
        "evaluations simulated": sum(tally.evaluations for tally in days),
        "clock jumps": sum(tally.jumps for tally in days),
        "pauses of a process": sum(tally.pauses for tally in days),
        "transitions": sum(tally.transitions for tally in days),
        "trips": sum(tally.trips for tally in days),
        "longest cooldown set, s": max(tally.longest_backoff_s for tally in days),
        "longest time open, s": max(tally.longest_cooldown_s for tally in days),
    }


def _row(name: str, falls: Iterable[Fall], illness: str, processes: int) -> Sequence[str | int | float | None]:
    spread = Spread.of([one.last_call_s for one in falls if (one.illness, one.processes) == (illness, processes)])
    return [name, spread.count, spread.p50, spread.p99, spread.largest]


def _violation(seed: int, violation: Violation) -> dict[str, Any]:
    return {"seed": seed, **asdict(violation)}
