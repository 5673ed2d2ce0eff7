"""Sound on the client's side: files and the microphone as 20 ms frames of PCM16, at real-time pace where it matters."""

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FRAME_SECONDS: Final = 0.02
RATES: Final = (8_000, 16_000, 24_000, 44_100, 48_000)
SUFFIXES: Final = (".wav", ".flac")
_MICROPHONE_FRAMES: Final = 250  # five seconds: what a slow server may cost before audio is lost


class AudioUnusable(ValueError):
    """A file or device that gives no audio that Selene accepts; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Mono PCM16: ``samples`` int16 [n] at ``rate`` Hz, one of RATES."""

    name: str
    rate: int
    samples: npt.NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def frames(self, seconds: float = FRAME_SECONDS) -> Iterator[bytes]:
        """Little-endian bytes, ``seconds`` a frame; the last may be shorter."""
        size = round(self.rate * seconds)
        for start in range(0, len(self.samples), size):
            yield self.samples[start : start + size].astype("<i2").tobytes()

    @classmethod
    def of_pcm(cls, name: str, rate: int, pcm: bytes) -> "Recording":
        """Of little-endian PCM16, whole samples."""
        return cls(name, rate, np.frombuffer(pcm, dtype="<i2").astype(np.int16))

    def cut(self, start: float, end: float) -> "Recording":
        """The part between two times, in seconds."""
        part = self.samples[round(start * self.rate) : round(end * self.rate)]
        return Recording(f"{self.name}[{start:.2f}-{end:.2f}]", self.rate, part)


def join(name: str, parts: Iterable[Recording]) -> Recording:
    """The parts one after the other; they must share a rate."""
    kept = list(parts)
    if len({part.rate for part in kept}) != 1:
        raise AudioUnusable(f"{name}: parts of different sample rates cannot be joined")
    return Recording(name, kept[0].rate, np.concatenate([part.samples for part in kept]))


def read(path: Path, *, channel: int = 0) -> Recording:
    """One channel of a WAV or FLAC file. Raises AudioUnusable.

    Only one: two microphones are two streams, and mixing them would blur who speaks.
    """
    import soundfile

    if not path.is_file():
        raise AudioUnusable(f"{path}: {'a folder, wanted a file' if path.is_dir() else 'no such file'}")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise AudioUnusable(f"{path}: not WAV or FLAC, or damaged") from None
    except (OSError, RuntimeError) as error:
        raise AudioUnusable(f"{path}: {error}") from None
    if rate not in RATES:
        wanted = ", ".join(map(str, RATES))
        raise AudioUnusable(f"{path}: {rate} Hz; wanted one of {wanted}. Try: ffmpeg -i {path} -ar 16000 -ac 1 out.wav")
    if not 0 <= channel < samples.shape[1]:
        raise AudioUnusable(f"{path}: no channel {channel}; it has {samples.shape[1]}, counted from 0")
    mono = samples[:, channel]
    if not len(mono):
        raise AudioUnusable(f"{path}: holds no audio")
    if not np.isfinite(mono).all():
        raise AudioUnusable(f"{path}: holds samples that are no numbers")
    return Recording(path.name, rate, np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16))


def write(path: Path, recording: Recording) -> None:
    """Writes a WAV file. OSError."""
    with path.open("wb") as file, wave.open(file, "wb") as document:
        document.setnchannels(1)
        document.setsampwidth(2)
        document.setframerate(recording.rate)
        document.writeframes(recording.samples.astype("<i2").tobytes())


async def paced(
    frames: Iterable[bytes],
    seconds: float = FRAME_SECONDS,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[bytes]:
    """Frames at wall-clock pace: each leaves when a microphone would have filled it; lateness is caught up."""
    began = monotonic()
    for index, frame in enumerate(frames, start=1):
        wait = began + index * seconds - monotonic()
        if wait > 0:
            await sleep(wait)
        yield frame


async def unpaced(frames: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Frames as fast as they are taken."""
    for frame in frames:
        yield frame


@asynccontextmanager
async def microphone(rate: int = 16_000) -> AsyncIterator[AsyncIterator[bytes]]:
    """The default microphone as 20 ms frames of PCM16. Raises AudioUnusable where there is none, or no library for it.

    When the reader falls more than five seconds behind, the oldest audio is lost: a live voice does not wait.
    """
    sounddevice = _sounddevice("the microphone")
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(_MICROPHONE_FRAMES)

    def put(frame: bytes) -> None:
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(frame)

    def filled(data: object, *_: object) -> None:
        loop.call_soon_threadsafe(put, bytes(data))  # type: ignore[call-overload]  # a cffi buffer, untyped

    async def frames() -> AsyncIterator[bytes]:
        while True:
            yield await queue.get()

    try:
        device = sounddevice.RawInputStream(
            samplerate=rate, channels=1, dtype="int16", blocksize=round(rate * FRAME_SECONDS), callback=filled
        )
    except sounddevice.PortAudioError as error:
        raise AudioUnusable(f"the microphone cannot be opened: {error}") from None
    with device:
        yield frames()


class Loudspeaker:
    """The default loudspeaker for mono PCM16, fed piece by piece."""

    def __init__(self, device: Any) -> None:
        self._device = device

    async def play(self, pcm: bytes) -> None:
        """Waits until the device has room for it."""
        await asyncio.to_thread(self._device.write, pcm)

    async def drain(self) -> None:
        """Waits until all of it was heard."""
        await asyncio.to_thread(self._device.stop)


@contextmanager
def loudspeaker(rate: int) -> Iterator[Loudspeaker]:
    """Leaving it cuts off what was not heard yet. Raises AudioUnusable where there is none, or no library for it."""
    sounddevice = _sounddevice("the loudspeaker")
    try:
        device = sounddevice.RawOutputStream(samplerate=rate, channels=1, dtype="int16")
        device.start()
    except sounddevice.PortAudioError as error:
        raise AudioUnusable(f"the loudspeaker cannot be opened: {error}") from None
    try:
        yield Loudspeaker(device)
    finally:
        device.abort()
        device.close()


def _sounddevice(what: str) -> ModuleType:
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise AudioUnusable(f"{what} needs a library: pip install 'selene-platform[mic]'") from None
    except OSError:
        raise AudioUnusable(f"{what} needs PortAudio: apt install libportaudio2 (or brew install portaudio)") from None
    return sounddevice  # type: ignore[no-any-return]  # ships no types
