"""The live view of decision streams: a row each, confidence rising, then the decision; plain lines off a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from selene_messages.selene.voiceid import v1

from clients.errors import SeleneError
from clients.stream import Event, Outcome

_STYLES = {"CONFIRMED": "bold green", "OK": "bold green", "PROBABLE": "yellow", "UNKNOWN": "bold magenta"}
_PROGRESS = ("stream", "confidence", "", "voiced")
_FIGURES = frozenset(("", "voiced", "margin"))
_ROOM = 1000
"""Columns, more than any table asks for: what it would take if it could."""


@dataclass(slots=True)
class Lane:
    """What is known about one stream. ``expected`` is shown beside its name, for a demonstration."""

    name: str
    expected: str = ""
    heard: str = "connecting"
    score_bp: int = 0
    voiced: timedelta = timedelta(0)
    outcome: Outcome | None = None
    error: SeleneError | None = None

    def take(self, event: Event) -> None:
        """Notes one event of the stream."""
        if isinstance(event, v1.StreamStarted):
            self.heard = "listening"
        elif isinstance(event, v1.SpeechEvent):
            self.heard = "speech" if event.kind == v1.SpeechEventKind.SPEECH_BEGIN else "silence"
        elif isinstance(event, v1.InterimConfidence):
            self.score_bp = event.score_bp
            self.voiced = event.voiced or timedelta(0)
        else:
            self.outcome = event
            self.score_bp = event.decision.score_bp
            telemetry = event.decision.telemetry
            self.voiced = (telemetry.voiced if telemetry else None) or self.voiced


class LiveView:
    """Shows lanes while it is entered; `take` and `fail` feed it.

    On a terminal it is a table that redraws itself; elsewhere it prints a line an event, so that a log stays readable.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._lanes: list[Lane] = []
        self._live: Live | None = None

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=10)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def lane(self, name: str, expected: str = "") -> Lane:
        """A new row."""
        lane = Lane(name, expected)
        self._lanes.append(lane)
        return lane

    def take(self, lane: Lane, event: Event) -> None:
        """An event of the lane's stream."""
        lane.take(event)
        self._say(lane)

    def fail(self, lane: Lane, error: SeleneError) -> None:
        """The lane's stream failed."""
        lane.error = error
        self._say(lane)

    def _say(self, lane: Lane) -> None:
        if self._live is None and not self._quiet:
            self._console.print(plain(lane), soft_wrap=True)

    def _table(self) -> Table:
        everything = (*_PROGRESS, "decision", "margin", "reason", "next", "after speech")
        unbounded = self._console.options.update(width=_ROOM)
        for bar in (20, 8):
            wide = _table(everything, [row(lane, bar=bar) for lane in self._lanes])
            if self._console.measure(wide, options=unbounded).maximum <= self._console.width:
                return wide
        return _table((*_PROGRESS, "decision"), map(narrow_row, self._lanes))


def _table(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        # Only the last may wrap: a figure that is cut off says something else.
        table.add_column(heading, no_wrap=heading != headings[-1], justify="right" if heading in _FIGURES else "left")
    for cells in rows:
        table.add_row(*cells)
    return table


def row(lane: Lane, *, bar: int) -> list[RenderableType]:
    """The cells of a lane in the table."""
    cells = _progress(lane, bar=bar)
    if lane.error is not None:
        return [*cells, Text(lane.error.reason or lane.error.code.name, style="red"), "", "", "", ""]
    if lane.outcome is None:
        return [*cells, Text(lane.heard, style="dim"), "", "", "", ""]
    outcome = lane.outcome
    decision = outcome.decision
    return [
        *cells,
        _decision(outcome),
        Text(percent(decision.margin_to_next_bp)),
        Text(decision.reason_code.name or "?"),
        Text(next_action(outcome)),
        Text(latency(outcome)),
    ]


def narrow_row(lane: Lane) -> list[RenderableType]:
    """The same where there is little room: what is said of the decision stands below it."""
    if lane.outcome is None:
        return row(lane, bar=8)[: len(_PROGRESS) + 1]
    decision = lane.outcome.decision
    about = (
        decision.reason_code.name or "?",
        f"margin {percent(decision.margin_to_next_bp)}",
        f"next: {next_action(lane.outcome)}",
        latency(lane.outcome),
    )
    return [
        *_progress(lane, bar=8),
        Text("\n").join((_decision(lane.outcome), *(Text(line, style="dim") for line in about))),
    ]


def _progress(lane: Lane, *, bar: int) -> list[RenderableType]:
    return [
        Text(f"{lane.name} ({lane.expected})" if lane.expected else lane.name),
        ProgressBar(total=10_000, completed=lane.score_bp, width=bar),
        Text(percent(lane.score_bp)),
        Text(f"{lane.voiced.total_seconds():.1f} s"),
    ]


def _decision(outcome: Outcome) -> Text:
    return Text(f"{outcome.tier} {outcome.user_id}".rstrip(), style=_STYLES.get(outcome.tier, ""))


def plain(lane: Lane) -> Text:
    """The lane in one line of plain text."""
    head = f"{lane.name}: " + (f"({lane.expected}) " if lane.expected else "")
    if lane.error is not None:
        return Text(f"{head}{lane.error}")
    progress = f"{percent(lane.score_bp)} after {lane.voiced.total_seconds():.1f} s of speech"
    if lane.outcome is None:
        return Text(f"{head}{lane.heard}, {progress}")
    outcome = lane.outcome
    decision = outcome.decision
    named = f" {outcome.user_id}" if outcome.user_id else ""
    return Text(
        f"{head}{outcome.tier}{named}, {progress}, margin {percent(decision.margin_to_next_bp)}, "
        f"{decision.reason_code.name or '?'}, next: {next_action(outcome)}, {latency(outcome)}"
    )


def percent(basis_points: int) -> str:
    return f"{basis_points / 100:.2f} %"


def next_action(outcome: Outcome) -> str:
    """What to do next, in the contract's words, lower case; `-` for nothing."""
    action = outcome.decision.next_action
    return (action.name or "?").lower().replace("_", " ") if action else "-"


def latency(outcome: Outcome) -> str:
    """Half-close to decision as seen from here, and as the server measured it."""
    seen = f"{_ms(outcome.latency)} here" if outcome.latency is not None else "before the end"
    return f"{seen}, {_ms(outcome.server_latency)} server" if outcome.server_latency is not None else seen


def _ms(duration: timedelta) -> str:
    return f"{duration.total_seconds() * 1000:.0f} ms"
