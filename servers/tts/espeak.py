"""espeak-ng through the library that the wheel `espeakng-loader` carries, called in its synchronous mode.

The library keeps its voice, rate and output in globals, so one call runs at a time in a process: every call sets what
it needs and holds one lock. A little chance in the voice carries over from call to call: the same words are the same
speech but not the same samples. ctypes lets the interpreter go while the library works, and takes it back for each
buffer.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import espeakng_loader

BUFFER_MS = 60
WORDS_A_MINUTE = 175
MIN_RATE_PERCENT, MAX_RATE_PERCENT = 50, 250
"""The library speaks 80 to 450 words a minute."""

EVENT_WORD, EVENT_SENTENCE = 1, 2

_DICTIONARY = re.compile(r"^dictionary\s+(\S+)", re.MULTILINE)

_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_PHONEMES = 0x100
_RATE = 1


class EspeakFailed(Exception):
    """The library refused a call; the number is its own."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice: the locale it speaks (a lower-case BCP 47 tag), what the library calls it, and a name for people."""

    locale: str
    identifier: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """Where a word or sentence begins: character of the text, sample of the audio, both of this call."""

    kind: int
    character: int
    sample: int


OnAudio = Callable[[bytes, tuple[Event, ...]], bool]
"""Takes little-endian PCM16 and the events in it; False stops the synthesis."""


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library of this process; made by `load`. Every method may be called from any thread and waits its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._library.espeak_SetSynthCallback.argtypes = (_Callback,)
        self._library.espeak_SetSynthCallback.restype = None
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, BUFFER_MS, data, _DO_NOT_EXIT))
        if self.rate_hz <= 0:
            raise EspeakFailed("espeak_Initialize")
        self.voices = self._list_voices()

    def render(self, text: str, identifier: str, rate_percent: int, on_audio: OnAudio) -> None:
        """Speaks the text into ``on_audio``, on this thread; raises EspeakFailed.

        ``text`` holds no control characters (the library would obey them) and is read as plain text whatever it says.
        """
        self._render(text, identifier, rate_percent, on_audio, _UTF8)

    def render_respelt(self, text: str, identifier: str, rate_percent: int, on_audio: OnAudio) -> None:
        """The same, but what stands between ``[[`` and ``]]`` is phonemes in the library's own letters."""
        self._render(text, identifier, rate_percent, on_audio, _UTF8 | _PHONEMES)

    def _render(self, text: str, identifier: str, rate_percent: int, on_audio: OnAudio, flags: int) -> None:
        def take(samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
            pcm = ctypes.string_at(samples, 2 * count) if samples and count else b""
            return 0 if on_audio(pcm, _events(events)) else 1

        callback = _Callback(take)
        encoded = text.encode()
        with self._lock:
            _check(self._library.espeak_SetVoiceByName(identifier.encode()), "espeak_SetVoiceByName")
            _check(self._library.espeak_SetParameter(_RATE, WORDS_A_MINUTE * rate_percent // 100, 0), "rate")
            self._library.espeak_SetSynthCallback(callback)
            _check(self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, flags, None, None), "espeak_Synth")

    def _list_voices(self) -> tuple[Voice, ...]:
        found, listed = [], self._library.espeak_ListVoices(None)
        index = 0
        while listed[index]:
            voice = listed[index].contents
            # A byte of priority stands before the first language; what other languages it can pass for is not used.
            locale = voice.languages[1:].decode().lower()
            made = Voice(locale, voice.identifier.decode(), voice.name.decode())
            if _has_dictionary(made):
                found.append(made)
            index += 1
        return tuple(found)


def _has_dictionary(voice: Voice) -> bool:
    """The wheel lists some voices without the dictionary they read by; they would say anything at all."""
    data = Path(espeakng_loader.get_data_path())
    named = _DICTIONARY.search((data / "lang" / voice.identifier).read_text(encoding="utf-8"))
    dictionary = named[1] if named else voice.locale.partition("-")[0]
    return (data / f"{dictionary}_dict").exists()


@cache
def load() -> Espeak:
    """The one engine of this process: the library's state is the process's."""
    return Espeak()


def _events(events: ctypes._Pointer[_Event]) -> tuple[Event, ...]:
    found = []
    index = 0
    while events[index].type:
        event = events[index]
        if event.type in (EVENT_WORD, EVENT_SENTENCE):
            found.append(Event(event.type, event.text_position - 1, event.sample))
        index += 1
    return tuple(found)


def _check(code: int, call: str) -> None:
    if code != 0:
        raise EspeakFailed(f"{call}: {code}")
