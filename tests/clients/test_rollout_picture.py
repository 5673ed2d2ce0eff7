"""A rollout as a picture: its steps, the judge's marks on them, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from selene.governance.v1 import rollout_pb2 as rollouts
from selene_messages.selene.governance import v1

from clients.cli.rollout_picture import drawn
from tests.clients.test_gate import token
from tests.servers.governance.house import WORSE, Governed, governing
from tests.support.talking import command

SVG = "{http://www.w3.org/2000/svg}"
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STAGES = ((v1.RolloutStage.SHADOW, 0), (v1.RolloutStage.CANARY_1, 500), (v1.RolloutStage.CANARY_2, 2_500))


def judgement(verdict: v1.JudgeVerdict, reason: v1.JudgeReason, day: int) -> v1.Judgement:
    return v1.Judgement(verdict=verdict, reasons=[reason], judged_at=START + day * DAY)


def rolled_back(name: str = "STT_VOCAB_PACK") -> v1.Rollout:
    met = (v1.JudgeVerdict.PROMOTE, v1.JudgeReason.PROMOTE_MET)
    worse = judgement(v1.JudgeVerdict.ROLLBACK, v1.JudgeReason.REGRESSION, 3)
    said = [judgement(*met, 1), judgement(*met, 2), worse]
    return v1.Rollout(
        rollout_id="r-1",
        subject=v1.ArtifactRef(artifact_type=name, artifact_version=2),
        state=v1.RolloutState.ROLLED_BACK,
        rollback_reason=v1.DecisionReason.JUDGE_ROLLBACK,
        stages=[
            v1.StageEntry(stage, share, START + day * DAY, START + (day + 1) * DAY, said[day])
            for day, (stage, share) in enumerate(STAGES)
        ],
        last_judgement=worse,
        started_at=START,
        ended_at=START + 3 * DAY,
    )


def texts(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def titles(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}title")]


def test_stages_verdicts_and_outcome_are_drawn() -> None:
    picture = drawn(rolled_back())
    assert {"STT_VOCAB_PACK@2  r-1", "shadow", "canary_1", "canary_2"} <= set(texts(picture))
    assert "rolled_back: judge_rollback" in texts(picture)
    assert titles(picture) == ["promote: promote_met", "promote: promote_met", "rollback: regression"]
    # Three equal days from x 64 to 696; shares of 0, 5, 25 % and back to nobody, from y 236 up to 52.
    steps = [node.get("d") for node in ElementTree.fromstring(picture).iter(f"{SVG}path") if node.get("fill") == "none"]
    assert steps == ["M64 236H275V227H485V190H696V236"]


def test_a_rollout_that_has_just_begun_is_drawn() -> None:
    begun = v1.Rollout(
        state=v1.RolloutState.RUNNING, stages=[v1.StageEntry(v1.RolloutStage.SHADOW, 0, START)], started_at=START
    )
    assert "running" in texts(drawn(begun)) and titles(drawn(begun)) == []
    assert "unspecified" in texts(drawn(v1.Rollout()))


def test_what_a_server_says_is_text_and_never_markup() -> None:
    picture = drawn(rolled_back('<script>alert("1")</script>&'))
    assert '<script>alert("1")</script>&@2  r-1' in texts(picture)
    assert not list(ElementTree.fromstring(picture).iter(f"{SVG}script"))


@pytest.fixture
async def house(quiet_log: None, tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path / "data") as governed:
        yield governed


async def test_the_command_draws_a_rollout_that_was_taken_back(
    house: Governed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(house.owners, tmp_path, monkeypatch)
    rollout = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_CANARY_1)
    await house.measure(rollout, WORSE)
    file = tmp_path / "rollout.svg"
    done = await run("rollout", "show", rollout.rollout_id, "--svg", file, "--token", token(house, "ann"))
    assert done.exit_code == 0, done.stderr
    picture = file.read_text(encoding="utf-8")
    assert "rolled_back: judge_rollback" in texts(picture)
    assert titles(picture)[-1] == "rollback: regression"
