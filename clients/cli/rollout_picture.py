"""A rollout as a picture: its stages over time as steps of share, what the judge said, how it ended."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Final

from selene_messages.selene.governance import v1

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 696, 52, 236
_ALL: Final = 10_000
_MARK: Final = 5
_INK, _GRID, _LINE = "#1a202c", "#cbd5e0", "#2b6cb0"
_VERDICTS: Final = {
    v1.JudgeVerdict.PROMOTE: "#2f855a",
    v1.JudgeVerdict.HOLD: "#b7791f",
    v1.JudgeVerdict.ROLLBACK: "#c53030",
}
_STATES: Final = {v1.RolloutState.COMPLETED: "#2f855a", v1.RolloutState.ROLLED_BACK: "#c53030"}


def drawn(rollout: v1.Rollout) -> str:
    """The rollout as SVG; it has a ground of its own, so it reads the same wherever it is shown.

    It reaches from when the rollout began to the last that is known of it.
    """
    subject = rollout.subject or v1.ArtifactRef()
    title = f"{subject.artifact_type}@{subject.artifact_version}  {rollout.rollout_id}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="monospace" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 24, title),
    ]
    for entry_share in (0, 500, 2_500, _ALL):
        y = _y(entry_share)
        parts.append(f'<path d="M{_LEFT} {y}H{_RIGHT}" stroke="{_GRID}"/>')
        # 0 % and 5 % lie too close for two words at the same height.
        parts.append(_text(_LEFT - 8, y + (10 if not entry_share else 2), f"{entry_share / 100:.0f} %", anchor="end"))
    stages = [entry for entry in rollout.stages if entry.entered_at is not None]
    moments = sorted(_moments(rollout, stages))
    if moments:
        parts += _steps(rollout, stages, moments[0], moments[-1])
    parts.append(_outcome(rollout))
    return "\n".join([*parts, "</svg>\n"])


def _moments(rollout: v1.Rollout, stages: Sequence[v1.StageEntry]) -> Iterator[datetime]:
    """Everything that is known to have happened at a time."""
    judged = rollout.last_judgement.judged_at if rollout.last_judgement else None
    for at in (rollout.started_at, rollout.ended_at, judged):
        if at is not None:
            yield at
    for entry in stages:
        yield from (at for at in (entry.entered_at, entry.left_at) if at is not None)


def _steps(rollout: v1.Rollout, stages: Sequence[v1.StageEntry], first: datetime, last: datetime) -> Iterator[str]:
    """The line of the share, the names of the stages along it, and the verdicts on it."""
    span = (last - first).total_seconds() or 1.0

    def x(at: datetime) -> int:
        return _LEFT + round((at - first).total_seconds() / span * (_RIGHT - _LEFT))

    marks: list[tuple[datetime, int, v1.Judgement]] = []
    path = ""
    for number, entry in enumerate(stages):
        entered, until = entry.entered_at or first, entry.left_at or last
        y = _y(entry.share_bp)
        path += f"{'V' if path else f'M{x(entered)} '}{y}H{x(until)}"
        # Neighbours' names take turns, so that short stages do not cover each other's.
        yield _text(x(entered), _BOTTOM + 24 + number % 2 * 14, _word(entry.stage))
        if entry.judgement is not None:
            marks.append((until, y, entry.judgement))
    if stages and rollout.state == v1.RolloutState.ROLLED_BACK:
        path += f"V{_y(0)}"
    if path:
        yield f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>'
    latest = rollout.last_judgement
    if stages and latest is not None and latest not in [judgement for _, _, judgement in marks]:
        marks.append((latest.judged_at or last, _y(stages[-1].share_bp), latest))
    for at, y, judgement in marks:
        colour = _VERDICTS.get(judgement.verdict, _INK)
        reasons = ", ".join(_word(reason) for reason in judgement.reasons)
        said = escape(f"{_word(judgement.verdict)}: {reasons or '-'}")
        yield f'<circle cx="{x(at)}" cy="{y}" r="{_MARK}" fill="{colour}"><title>{said}</title></circle>'
    yield _text(_LEFT, _HEIGHT - 10, f"{first:%Y-%m-%d %H:%M}")
    yield _text(_RIGHT, _HEIGHT - 10, f"{last:%Y-%m-%d %H:%M}", anchor="end")


def _outcome(rollout: v1.Rollout) -> str:
    told = _word(rollout.state)
    if rollout.rollback_reason:
        told += f": {_word(rollout.rollback_reason)}"
    return _text(_LEFT, 42, told, colour=_STATES.get(rollout.state, _LINE))


def _text(x: int, y: int, words: str, *, anchor: str = "start", colour: str = _INK) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def _word(
    value: v1.RolloutStage | v1.RolloutState | v1.JudgeVerdict | v1.JudgeReason | v1.DecisionReason,
) -> str:
    """How people read a value, also one that a newer server has and this client does not know."""
    return (value.name or str(int(value))).lower()


def _y(share_bp: int) -> int:
    return _BOTTOM - round(share_bp / _ALL * (_BOTTOM - _TOP))
