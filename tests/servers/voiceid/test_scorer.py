"""The models as a server opens them: the same embeddings as their authors' code, and one identity for one set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selene.common.v1 import audio_pb2
from selene.voiceid.v1 import voiceid_pb2

from clients.audio import Recording
from servers.runtime.auth import DEVELOPMENT_PRINCIPAL
from servers.voiceid import frontend
from servers.voiceid.batcher import Batcher, ModelSlow
from servers.voiceid.engine import Ask, Hearing
from servers.voiceid.models import registry
from servers.voiceid.models.faults import ModelError, ModelFault
from servers.voiceid.scorer import Listening, Models, open_models
from servers.voiceid.silero import vad_path as where_vad_is
from tests.support.speech import Person, pieces

SHARED = Path(__file__).parents[4] / "shared"
FORMAT = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_LINEAR16, sample_rate_hz=16_000, channel_count=1)
BOTH = (registry.GE2E_ID, registry.CAMPPLUS_ID)


@pytest.fixture(scope="module")
def models(models_dir: Path) -> Models:
    return open_models(models_dir, where_vad_is(models_dir), BOTH)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    opened = Batcher(workers=2)
    yield opened
    opened.close()


def heard(models: Models, batcher: Batcher, recording: Recording, size: int = 640) -> Listening:
    listening = Listening(models, batcher, FORMAT)
    deadline = time.monotonic() + 30.0
    for piece in pieces(recording.samples.astype("<i2").tobytes(), size):
        listening.push(piece, deadline=deadline)
    listening.finish(deadline=deadline)
    return listening


async def embedded(models: Models, batcher: Batcher, recording: Recording, size: int = 640) -> tuple[Any, ...]:
    vectors = (await heard(models, batcher, recording, size).ended_all(deadline=time.monotonic() + 30.0)).all()
    assert vectors is not None
    return vectors


async def test_one_person_is_nearer_to_themselves_than_to_another(
    models: Models, batcher: Batcher, mira: Person, otto: Person
) -> None:
    one, again = [await embedded(models, batcher, clip) for clip in (mira.clips[1], mira.ask)]
    other = await embedded(models, batcher, otto.clips[1])
    for model in range(len(BOTH)):
        assert float(np.linalg.norm(one[model])) == pytest.approx(1.0, abs=1e-5)
        assert float(one[model] @ again[model]) > float(one[model] @ other[model]) + 0.1


async def test_a_stream_that_did_not_end_after_all_is_heard_on_as_if_nothing_had_been(
    models: Models, batcher: Batcher, mira: Person
) -> None:
    said = mira.ask.cut(0.0, 3.0)
    expected = await embedded(models, batcher, said)
    ask = Ask("s-1", voiceid_pb2.StreamConfig(tenant_id="t1"), "", DEVELOPMENT_PRINCIPAL)
    hearing = Hearing(ask, lambda: Listening(models, batcher, FORMAT))
    deadline = time.monotonic() + 30.0
    for place, frame in enumerate(pieces(said.samples.astype("<i2").tobytes(), 640)):
        if place in (40, 110):
            hearing.finish(deadline=deadline)
            hearing.unfinish()
            assert not hearing.finished
            await hearing.hear_again(deadline=deadline)
        hearing.push(frame, None, deadline=deadline)
    hearing.finish(deadline=deadline)
    assert hearing.listening is not None
    again = (await hearing.listening.ended_all(deadline=deadline)).all()
    assert again is not None
    for model in range(len(BOTH)):
        np.testing.assert_allclose(again[model], expected[model], atol=1e-5)


@pytest.mark.parametrize("size", [2, 2048, 14_998])
async def test_embeddings_do_not_depend_on_how_the_stream_was_cut(
    models: Models, batcher: Batcher, otto: Person, size: int
) -> None:
    short = otto.clips[0].cut(0.0, 1.9)
    whole, cut = [await embedded(models, batcher, short, one) for one in (640, size)]
    for model in range(len(BOTH)):
        np.testing.assert_allclose(cut[model], whole[model], atol=1e-5)


async def test_windows_of_streams_that_share_a_call_are_those_of_a_stream_alone(
    models: Models, batcher: Batcher, mira: Person, otto: Person
) -> None:
    alone = [await embedded(models, batcher, person.ask) for person in (mira, otto)]
    together = [heard(models, batcher, person.ask) for person in (mira, otto) * 3]
    ends = await asyncio.gather(*(one.ended_all(deadline=time.monotonic() + 30.0) for one in together))
    for index, end in enumerate(ends):
        vectors = end.all()
        assert vectors is not None
        for model in range(len(BOTH)):
            np.testing.assert_allclose(vectors[model], alone[index % 2][model], atol=1e-4)


async def test_a_budget_that_is_over_is_slow_not_wrong(models: Models, batcher: Batcher, mira: Person) -> None:
    listening = Listening(models, batcher, FORMAT)
    past = time.monotonic() - 1.0
    listening.push(mira.ask.samples.astype("<i2").tobytes(), deadline=past)
    listening.finish(deadline=past)
    with pytest.raises(ModelSlow):
        await listening.ended_all(deadline=past)


async def test_an_abandoned_stream_leaves_nothing_waiting(models: Models, batcher: Batcher, mira: Person) -> None:
    listening = heard(models, batcher, mira.ask)
    listening.abandon()
    await embedded(models, batcher, mira.ask)
    assert batcher.waiting() == 0


def test_the_set_hash_names_these_models_in_this_order(models_dir: Path, models: Models) -> None:
    vad = where_vad_is(models_dir)
    again = open_models(models_dir, vad, BOTH, None)
    assert again.model_set_hash == models.model_set_hash and len(models.model_set_hash) == 32
    assert again.segmentation is None
    others = [open_models(models_dir, vad, ids, None).model_set_hash for ids in (BOTH[:1], BOTH[1:], BOTH[::-1])]
    assert len({models.model_set_hash, *others}) == 4


@pytest.mark.parametrize("model_id", ["nobody", "../ge2e"])
def test_a_model_that_is_not_there_refuses_the_whole_scorer(models_dir: Path, model_id: str) -> None:
    with pytest.raises(ModelError) as refusal:
        open_models(models_dir, where_vad_is(models_dir), (registry.GE2E_ID, model_id))
    assert refusal.value.reason is ModelFault.MODEL_MISSING


def test_a_segmentation_model_is_no_speaker_model(models_dir: Path) -> None:
    with pytest.raises(ModelError) as refusal:
        open_models(models_dir, where_vad_is(models_dir), (registry.SEGMENTATION_ID,))
    assert refusal.value.reason is ModelFault.MANIFEST_INVALID


@pytest.fixture(scope="module")
def golden() -> Any:
    path = SHARED / "voice" / "frontend_golden.npz"
    if not path.exists():
        pytest.skip("no golden embeddings beside the repository (shared/voice/frontend_golden.npz)")
    return np.load(path)


def utterance(golden: Any, index: int) -> Any:
    samples, _ = soundfile.read(SHARED / "data" / "librispeech-dev" / str(golden["files"][index]), dtype="float32")
    return samples


def cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("index", range(10))
def test_campplus_embeds_whole_recordings_as_its_authors_do(models_dir: Path, golden: Any, index: int) -> None:
    stream = frontend.FbankStream()
    frames = np.concatenate((stream.push(utterance(golden, index)), stream.flush()))
    embedding = registry.embed(registry.load(models_dir, registry.CAMPPLUS_ID), frontend.campplus_input(frames)[None])
    assert cosine(embedding[0], golden["campplus_embedding"][index]) >= 0.9999


@pytest.mark.parametrize("index", range(10))
def test_ge2e_embeds_whole_recordings_as_its_authors_do(models_dir: Path, golden: Any, index: int) -> None:
    """Windows of 160 frames, hop 80, not levelled; their mean."""
    stream = frontend.MelStream()
    frames = frontend.ge2e_input(np.concatenate((stream.push(utterance(golden, index)), stream.flush())))
    starts = range(0, len(frames) - 160 + 1, 80)
    windows = np.stack([frames[start : start + 160] for start in starts])
    embeddings = registry.embed(registry.load(models_dir, registry.GE2E_ID), windows)
    assert cosine(embeddings.mean(axis=0), golden["ge2e_embedding"][index]) >= 0.9999
