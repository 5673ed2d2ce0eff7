"""What the benchmark of the demonstration is made of: lines under a clock, stages, an environment without caches."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench.demo import fresh
from bench.demo.__main__ import ROOM
from bench.demo.again import LEFT_OUT, ROOT, STAGES, left_out
from bench.demo.timed import CommandFailed, Line, Stage, Timed, stages, timed

RUN = Timed([Line(1.0, "begin"), Line(3.0, "middle of it"), Line(3.5, "other")], 7.0)


def test_every_part_of_the_room_can_be_measured() -> None:
    for module in ROOM.parts.values():
        assert callable(import_module(f"bench.demo.{module}").measure)


def test_a_stage_ends_with_its_line_and_the_last_one_with_the_process() -> None:
    wanted = [Stage("first", "begin"), Stage("second", "middle"), Stage("rest", "")]
    assert stages(RUN, wanted) == {"first": 1.0, "second": 2.0, "rest": 4.0}


def test_a_stage_that_was_never_said_leaves_its_time_to_the_next() -> None:
    wanted = [Stage("first", "begin"), Stage("absent", "never"), Stage("rest", "")]
    assert stages(RUN, wanted) == {"first": 1.0, "absent": None, "rest": 6.0}


def test_stages_come_in_their_order() -> None:
    assert stages(RUN, [Stage("late", "other"), Stage("early", "begin")]) == {"late": 3.5, "early": None}


def test_lines_of_both_outputs_are_read_in_order(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    run = timed((sys.executable, "-c", code), tmp_path, os.environ, limit_s=60.0)
    assert [line.text for line in run.lines] == ["out", "err"]
    assert 0.0 < run.lines[0].at_s <= run.lines[1].at_s <= run.seconds


@pytest.mark.parametrize(
    ("code", "limit_s", "why"),
    [("print('cause'); raise SystemExit(3)", 60.0, "ended with 3"), ("while True: pass", 0.2, "not done after 0 s")],
)
def test_a_command_that_does_not_end_well_says_why(tmp_path: Path, code: str, limit_s: float, why: str) -> None:
    with pytest.raises(CommandFailed, match=why) as raised:
        timed((sys.executable, "-c", code), tmp_path, os.environ, limit_s=limit_s)
    assert ("cause" in str(raised.value)) == ("cause" in code)


def test_the_stages_are_those_that_the_demonstration_says() -> None:
    """The words that stages end with are in the sources that say them, and so are those of what is left out."""
    said = "".join(
        (ROOT / source).read_text()
        for source in (
            "servers/demonstration.py",
            "servers/cli.py",
            "clients/demo.py",
            "clients/spoken.py",
            "clients/posted.py",
        )
    )
    for stage in (*STAGES, *fresh.STAGES):
        assert stage.until in said
    for words in LEFT_OUT:
        assert words.strip() in said


def test_what_could_not_be_shown_is_told() -> None:
    lines = [Line(0.0, "enrolled mira"), Line(1.0, "The messages are skipped: aiosmtpd is not installed.")]
    assert left_out(lines) == [lines[1].text]


def test_a_fresh_clone_sees_no_cache_and_nothing_of_this_project(tmp_path: Path) -> None:
    here = {
        "PATH": os.pathsep.join(["/venv/bin", "/usr/bin", str(ROOT / ".venv" / "bin")]),
        "VIRTUAL_ENV": "/venv",
        "PYTHONPATH": "gen",
        "SELENE_DATA_DIR": "/var/lib/selene",
        "MAKEFLAGS": "-j",
        "PIP_INDEX_URL": "https://index",
    }
    assert fresh.bare(here, tmp_path) == {
        "PATH": "/usr/bin",
        "PIP_INDEX_URL": "https://index",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_CACHE_DIR": "1",
    }


def test_a_quick_run_measures_no_clone_and_says_so() -> None:
    report = fresh.measure(lambda _: None, quick=True)
    assert [target.met for target in report.targets] == [None]
    assert any(note.startswith("NOT MEASURED: ") for note in report.notes)
