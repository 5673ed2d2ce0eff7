"""The table of `selene routes`: every provider of an owner as it stands, why, and who is next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from selene_messages.selene.routing import v1

from clients.errors import SeleneError

_ROOM: Final = 1000
"""Columns, more than any table asks for: what it would take if it could."""

_STATE_STYLES: Final = {
    v1.CircuitState.CLOSED: "green",
    v1.CircuitState.OPEN: "bold red",
    v1.CircuitState.HALF_OPEN: "yellow",
    v1.CircuitState.FORCED_OPEN: "bold red",
    v1.CircuitState.FORCED_CLOSED: "bold green",
}
_QUALITY: Final = {
    v1.Domain.STT: ((v1.Measure.TRANSCRIPT_ACCEPT_RATE_200, "accepted", True),),
    v1.Domain.TTS: ((v1.Measure.COMPLAINT_RATE_500, "complaints", True),),
    v1.Domain.LLM: (
        (v1.Measure.SCHEMA_INVALID_RATE_200, "broken schema", True),
        (v1.Measure.POLICY_CONFLICT_COUNT_200, "policy conflicts", False),
    ),
}
_WIDE: Final = (
    "owner", "", "provider", "available", "last", "circuit", "why", "since", "retry at", "timeouts", "errors", "p95",
    "quality", "samples", "decided by",
)  # fmt: skip
_MEDIUM: Final = ("owner", "", "provider", "available", "last", "circuit", "why", "errors", "p95", "samples")
_NARROW: Final = ("owner", "", "provider", "available", "circuit", "why")
_ADVICE: Final = {
    "NO_ADAPTER": "install what calls it (extra `vendors`), or configure its endpoint",
    "NO_SECRET": "keep its secret under its handle: `selene secrets put`",
    "NO_SECRETS_OWNER": "run the secrets owner, kms, where the server can reach it",
    "LEASE_DENIED": "grant its secret to this owner: `selene secrets put` with -g",
    "SECRET_UNREADABLE": "look at the backend that keeps its secret, and that the secret is text",
}
"""What can be done about each reason of NOT_CONFIGURED."""
_FIGURES: Final = frozenset({"timeouts", "errors", "p95", "samples"})


@dataclass(frozen=True, slots=True)
class Standing:
    """An owner's answer, or why there is none."""

    owner: str
    reply: v1.ListProvidersResponse | SeleneError


def view(standings: Sequence[Standing], console: Console) -> RenderableType:
    """The table, and below it what can be done about each reason why a provider is not configured."""
    replies = [each.reply for each in standings if not isinstance(each.reply, SeleneError)]
    return Group(table(standings, console), *advice([provider for reply in replies for provider in reply.providers]))


def advice(providers: Iterable[v1.ProviderStanding], **otherwise: str) -> list[Text]:
    """What can be done about each reason why one of these is not configured; ``otherwise`` says what else there."""
    reasons = {provider.reason_code for provider in providers}
    known = {**_ADVICE, **otherwise}
    return [Text(f"{reason}: {told}", style="dim") for reason, told in known.items() if reason in reasons]


def table(standings: Sequence[Standing], console: Console) -> Table:
    """As many columns as ``console`` has room for."""
    rows = [row for standing in standings for row in _rows(standing)]
    unbounded = console.options.update(width=_ROOM)
    for headings in (_WIDE, _MEDIUM):
        made = _table(headings, rows)
        if console.measure(made, options=unbounded).maximum <= console.width:
            return made
    return _table(_NARROW, rows)


def _table(headings: Sequence[str], rows: Iterable[dict[str, RenderableType]]) -> Table:
    made = Table(box=None, pad_edge=False)
    for heading in headings:
        # Only the last may wrap: a name that is cut off says something else.
        made.add_column(heading, no_wrap=heading != headings[-1], justify="right" if heading in _FIGURES else "left")
    for row in rows:
        made.add_row(*(row.get(heading, "") for heading in headings))
    return made


def _rows(standing: Standing) -> list[dict[str, RenderableType]]:
    if isinstance(standing.reply, SeleneError):
        told = standing.reply.reason or standing.reply.code.name
        return [{"owner": standing.owner, "provider": Text("?"), "available": Text(told, style="red")}]
    return [
        {"owner": standing.owner if index == 0 else "", **row(provider, standing.reply.domain)}
        for index, provider in enumerate(standing.reply.providers)
    ]


def row(provider: v1.ProviderStanding, domain: v1.Domain) -> dict[str, RenderableType]:
    """The cells of a provider, by heading."""
    circuit = provider.circuit or v1.Circuit()
    readings = {reading.measure: reading for reading in provider.readings}
    never = circuit.reason_code == "NEVER_OPENED"
    return {
        "": Text("▶", style="bold cyan") if provider.next else Text(f"{provider.priority}", style="dim"),
        "provider": Text(provider.provider_ref, style="bold" if provider.next else ""),
        "available": _available(provider),
        "last": _last(provider),
        "circuit": Text(_name(circuit.state), style=_STATE_STYLES.get(circuit.state, "")),
        "why": _why(provider, "" if never else circuit.reason_code),
        "since": Text("" if never else clock(circuit.since)),
        "retry at": Text(clock(circuit.retry_at)),
        "timeouts": _rate(readings.get(v1.Measure.TIMEOUT_RATE_60S)),
        "errors": _rate(readings.get(v1.Measure.ERROR_RATE_60S)),
        "p95": _p95(readings.get(v1.Measure.P95_LATENCY_5M)),
        "quality": _quality(readings, domain),
        "samples": str(max((reading.samples for reading in provider.readings), default=0)),
        "decided by": Text((provider.priority_layer.name or "?").lower(), style="dim"),
    }


def _available(provider: v1.ProviderStanding) -> Text:
    if provider.availability is v1.Availability.READY:
        return Text("READY", style="green")
    # Where the reason says nothing more than the availability, it is said once.
    name = _name(provider.availability)
    if provider.availability is v1.Availability.NOT_CONFIGURED:
        return Text(name, style="magenta")
    return Text(name if provider.reason_code in ("", name) else f"{name}: {provider.reason_code}", style="magenta")


def _last(provider: v1.ProviderStanding) -> Text:
    """What came of it last, as far as the answering process knows: evidence, where READY is none."""
    succeeded, failed = provider.last_succeeded_at, provider.last_failed_at
    if failed is not None and (succeeded is None or failed >= succeeded):
        return Text(f"{provider.last_failure} {clock(failed)}", style="red")
    return Text(f"OK {clock(succeeded)}", style="green") if succeeded is not None else Text("-", style="dim")


def _why(provider: v1.ProviderStanding, of_circuit: str) -> Text:
    """What it lacks; where it lacks nothing, why its circuit stands where it does."""
    is_lacking = provider.availability is v1.Availability.NOT_CONFIGURED
    return Text(provider.reason_code if is_lacking else of_circuit)


def _rate(reading: v1.MeasureReading | None) -> Text:
    if reading is None or not reading.samples:
        return Text("-", style="dim")
    return Text(f"{reading.value / 100:.1f} %", style="red" if reading.value else "")


def _p95(reading: v1.MeasureReading | None) -> Text:
    return Text(f"{reading.value:.0f} ms" if reading is not None and reading.samples else "-")


def _quality(readings: dict[v1.Measure, v1.MeasureReading], domain: v1.Domain) -> Text:
    told = [
        f"{name} {reading.value / 100:.1f} %" if is_rate else f"{name} {reading.value:.0f}"
        for measure, name, is_rate in _QUALITY.get(domain, ())
        if (reading := readings.get(measure)) is not None and reading.samples
    ]
    return Text(", ".join(told) or "-")


def clock(instant: datetime | None) -> str:
    """Local time of day, with the date where it is not today; empty for none."""
    if instant is None:
        return ""
    local = instant.astimezone()
    same_day = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")


def _name(value: v1.CircuitState | v1.Availability) -> str:
    return value.name or "?"
