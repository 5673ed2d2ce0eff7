"""Who speaks when: RTTM turns, the parts where one person speaks alone, and clips made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clients.audio import AudioUnusable, Recording, join

Span = tuple[float, float]
"""Start and end, in seconds."""

SHORTEST = 0.4
"""A shorter part is a breath or an interjection, not speech to know a person by."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What is known of one speaker: clips to enrol from, and other audio to ask with."""

    name: str
    clips: tuple[Recording, ...]
    asks: tuple[Recording, ...]


def parse_rttm(text: str) -> dict[str, list[Span]]:
    """Turns by speaker, in order of time. Raises AudioUnusable for a line that is no SPEAKER line."""
    turns: dict[str, list[Span]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, length, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError):
            raise AudioUnusable(
                f"RTTM line {number} does not read `SPEAKER file channel start length … name`"
            ) from None
        turns.setdefault(speaker, []).append((start, start + length))
    return {speaker: sorted(spans) for speaker, spans in sorted(turns.items())}


def alone(turns: Mapping[str, Sequence[Span]], speaker: str) -> list[Span]:
    """The parts of ``speaker``'s turns in which nobody else speaks, those of SHORTEST or more, in order of time."""
    others = sorted(span for name, spans in turns.items() if name != speaker for span in spans)
    parts: list[Span] = []
    for start, end in turns[speaker]:
        for other_start, other_end in others:
            if other_end <= start or end <= other_start:
                continue
            if start < other_start:
                parts.append((start, other_start))
            start = max(start, min(other_end, end))
        parts.append((start, end))
    return [(start, end) for start, end in parts if end - start >= SHORTEST]


def split_voice(name: str, speech: Recording, *, clips: int, ask_seconds: float) -> Voice:
    """The last ``ask_seconds`` to ask with, what is before in ``clips`` equal clips. Raises AudioUnusable."""
    enrol = speech.seconds - ask_seconds
    if enrol < ask_seconds:
        raise AudioUnusable(f"{name}: {speech.seconds:.1f} s of speech is too little to enrol and to ask")
    size = enrol / clips
    return Voice(
        name,
        tuple(speech.cut(index * size, (index + 1) * size) for index in range(clips)),
        (speech.cut(enrol, speech.seconds),),
    )


def voices_of(recording: Recording, rttm: str, *, clips: int, ask_seconds: float) -> list[Voice]:
    """Every speaker of a recording, from what they say alone."""
    turns = parse_rttm(rttm)
    voices = []
    for speaker in turns:
        parts = [recording.cut(start, end) for start, end in alone(turns, speaker)]
        if parts:
            voices.append(split_voice(speaker, join(speaker, parts), clips=clips, ask_seconds=ask_seconds))
    return voices
