"""Voice activity: the batched graph says what the published one says, and hysteresis turns it into speech."""

import shutil
from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2

from servers.voiceid.models import registry, wheels
from servers.voiceid.silero import Vad, VadFault, VadModel
from servers.voiceid.silero_graph import PUBLISHED, SILERO, VadGraphError, build_graph, build_vad, prepare_vad
from servers.voiceid.vad import CHUNK_SAMPLES, CONTEXT_SAMPLES, ChunkFramer, VadPolicy, VadStream

BEGIN, END = voiceid_pb2.SpeechEvent.KIND_SPEECH_BEGIN, voiceid_pb2.SpeechEvent.KIND_SPEECH_END
POLICY = VadPolicy(begin_probability=0.5, end_probability=0.35, min_speech=2 * 512, min_silence=3 * 512)


def random_weights(rng):
    def draw(*shape):
        return rng.normal(0, 0.15, shape).astype(np.float32)

    weights = {"stft.forward_basis_buffer": draw(258, 1, 256)}
    for index, (out, given_channels) in enumerate(((128, 129), (64, 128), (64, 64), (128, 64))):
        weights[f"encoder.{index}.reparam_conv.weight"] = draw(out, given_channels, 3)
        weights[f"encoder.{index}.reparam_conv.bias"] = draw(out)
    for name, shape in (("weight_ih", (512, 128)), ("weight_hh", (512, 128)), ("bias_ih", (512,)), ("bias_hh", (512,))):
        weights[f"decoder.rnn.{name}"] = draw(*shape)
    return weights | {"decoder.decoder.2.weight": draw(1, 128, 1), "decoder.decoder.2.bias": draw(1)}


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def reference_chunk(weights, window, hidden, cell):
    """The published architecture, written as its definition reads: one window, float64."""
    padded = np.pad(window.astype(np.float64), (0, 64), mode="reflect")
    basis = weights["stft.forward_basis_buffer"][:, 0].astype(np.float64)
    spectrum = np.stack([basis @ padded[at : at + 256] for at in (0, 128, 256, 384)], axis=1)
    signal = np.sqrt(spectrum[:129] ** 2 + spectrum[129:] ** 2)
    for index, stride in enumerate((1, 2, 2, 1)):
        kernel = weights[f"encoder.{index}.reparam_conv.weight"].astype(np.float64)
        wide = np.pad(signal, ((0, 0), (1, 1)))
        at = range(0, wide.shape[1] - 2, stride)
        signal = np.stack([np.einsum("oik,ik->o", kernel, wide[:, start : start + 3]) for start in at], axis=1)
        signal = np.maximum(signal + weights[f"encoder.{index}.reparam_conv.bias"][:, None], 0)
    gates = weights["decoder.rnn.weight_ih"].astype(np.float64) @ signal[:, 0] + weights["decoder.rnn.bias_ih"]
    gates = gates + weights["decoder.rnn.weight_hh"].astype(np.float64) @ hidden + weights["decoder.rnn.bias_hh"]
    i, f, g, o = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    logit = weights["decoder.decoder.2.weight"][0, :, 0] @ np.maximum(hidden, 0) + weights["decoder.decoder.2.bias"][0]
    return sigmoid(logit), hidden, cell


def test_the_graph_computes_the_published_architecture():
    rng = np.random.default_rng(5)
    weights = random_weights(rng)
    windows = rng.normal(0, 0.1, (2, 3, 576)).astype(np.float32)
    session = ort.InferenceSession(build_graph(weights).SerializeToString(), providers=["CPUExecutionProvider"])
    zeros = np.zeros((1, 2, 128), np.float32)
    feed = {"windows": windows, "lengths": np.array([3, 3], np.int32), "h": zeros, "c": zeros}
    probabilities, hidden, cell = session.run(["probabilities", "hn", "cn"], feed)
    for row in range(2):
        h, c = np.zeros(128), np.zeros(128)
        for step in range(3):
            expected, h, c = reference_chunk(weights, windows[row, step], h, c)
            assert probabilities[row, step] == pytest.approx(expected, abs=1e-4)
        assert np.allclose(hidden[0, row], h, atol=1e-4)
        assert np.allclose(cell[0, row], c, atol=1e-4)


def published_probabilities(samples):
    path = wheels.fetch(SILERO, registry.default_cache_dir(), lambda task, fraction: None)[PUBLISHED]
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state, answers = np.zeros((2, 1, 128), np.float32), []
    for window in ChunkFramer().push(samples):
        feed = {"input": window[None], "state": state, "sr": np.array(16_000)}
        answer, state = session.run(None, feed)
        answers.append(answer[0, 0])
    return np.array(answers)


def test_the_built_model_agrees_with_the_published_one_on_speech(vad_model, speech):
    for clips in list(speech.values())[:3]:
        windows = ChunkFramer().push(clips[0])
        probabilities, _ = vad_model.run(windows[None], vad_model.initial_state())
        assert np.abs(probabilities[0] - published_probabilities(clips[0])).max() < 1e-4


def test_the_built_model_agrees_with_the_published_one_on_a_synthetic_voice(vad_model, voice):
    samples = np.concatenate((voice(1.0), np.zeros(8_000, np.float32), voice(0.5, seed=3)))
    windows = ChunkFramer().push(samples)
    probabilities, _ = vad_model.run(windows[None], vad_model.initial_state())
    assert np.abs(probabilities[0] - published_probabilities(samples)).max() < 1e-4
    assert probabilities.max() > 0.9
    assert probabilities.min() < 0.1


def test_streams_of_unequal_length_share_a_call_without_touching_each_other(vad_model, voice):
    rows = [ChunkFramer().push(voice(0.5, pitch, seed)) for seed, pitch in enumerate((110, 150, 220))]
    counts = np.array([2, len(rows[1]), 5], np.int32)
    batch = np.full((3, counts.max(), 576), np.float32(0.3))
    for index, row in enumerate(rows):
        batch[index, : counts[index]] = row[: counts[index]]
    together, states = vad_model.run(batch, vad_model.initial_state(3), counts)
    for index, row in enumerate(rows):
        alone, state = vad_model.run(row[None, : counts[index]], vad_model.initial_state())
        assert np.allclose(together[index, : counts[index]], alone[0], atol=1e-6)
        assert np.allclose(states[:, index], state[:, 0], atol=1e-5)


def test_the_state_carries_over_calls(vad_model, voice):
    windows = ChunkFramer().push(voice(1.0))[None]
    whole, _ = vad_model.run(windows, vad_model.initial_state())
    first, state = vad_model.run(windows[:, :7], vad_model.initial_state())
    second, _ = vad_model.run(windows[:, 7:], state)
    assert np.allclose(np.concatenate((first, second), axis=1), whole, atol=1e-6)


def test_a_model_with_other_weights_is_refused_at_start_up():
    with pytest.raises(VadFault, match="golden"):
        VadModel(build_graph(random_weights(np.random.default_rng(0))).SerializeToString())


@pytest.mark.parametrize("damaged", [b"", b"not an onnx file"])
def test_a_damaged_model_file_is_refused(damaged, tmp_path):
    place = tmp_path / "model.onnx"
    place.write_bytes(damaged)
    with pytest.raises(VadFault):
        VadModel(place)
    with pytest.raises(VadGraphError):
        build_vad(damaged)


def test_a_damaged_cached_model_is_built_again(vad_path, tmp_path):
    source = vad_path.parents[1] / "sources" / PUBLISHED.sha256
    shutil.copytree(source, tmp_path / "sources" / PUBLISHED.sha256)
    place = prepare_vad(tmp_path, lambda task, fraction: None)
    place.write_bytes(place.read_bytes()[:1_000_000])
    assert prepare_vad(tmp_path, lambda task, fraction: None) == place
    assert VadModel(place).initial_state().shape == (2, 1, 128)


def test_nan_in_the_sound_is_a_fault_not_silence(vad_model):
    windows = np.full((1, 2, 576), np.nan, np.float32)
    with pytest.raises(VadFault):
        vad_model.run(windows, vad_model.initial_state())


def run_vad(model, samples, places, block):
    vad = Vad(model, POLICY, block)
    bounds = [0, *sorted(place % (len(samples) + 1) for place in places), len(samples)]
    steps = [vad.push(samples[start:end]) for start, end in pairwise(bounds)] + [vad.flush()]
    events = [event for step in steps for event in step.events]
    return events, np.concatenate([step.voiced for step in steps]).tolist(), vad.voiced_samples


@settings(deadline=None, max_examples=15)
@given(places=st.lists(st.integers(0, 60_000), max_size=40), block=st.integers(1, 9))
def test_the_split_does_not_change_what_is_heard(vad_model, voice, places, block):
    silence = np.zeros(9_000, np.float32)
    samples = np.concatenate((silence, voice(1.1), silence, voice(0.7, seed=3), silence[:100]))
    events, voiced, voiced_samples = run_vad(vad_model, samples, places, block)
    assert (events, voiced, voiced_samples) == run_vad(vad_model, samples, [], 4)
    assert [event.kind for event in events] == [BEGIN, END, BEGIN, END]


def test_speech_is_found_where_it_is(vad_model, speech):
    clip = next(iter(speech.values()))[0]
    samples = np.concatenate((np.zeros(16_000, np.float32), clip, np.zeros(16_000, np.float32)))
    events, _, voiced_samples = run_vad(vad_model, samples, [], 4)
    assert 16_000 - 1_600 < events[0].offset < 16_000 + 12_000
    assert events[-1].offset < 16_000 + len(clip) + 3_200
    assert 0.5 < voiced_samples / len(clip) <= 1


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=20))
def test_windows_are_the_stream_with_its_context(sizes):
    samples = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    framer = ChunkFramer()
    bounds = np.cumsum([0, *sizes])
    windows = np.concatenate([framer.push(samples[a:b]) for a, b in pairwise(bounds)] + [framer.flush()])
    padded = np.concatenate((samples, np.zeros(-len(samples) % CHUNK_SAMPLES, np.float32)))
    assert np.array_equal(windows[:, CONTEXT_SAMPLES:].reshape(-1), padded)
    before = np.concatenate((np.zeros(CONTEXT_SAMPLES, np.float32), padded))
    for index, window in enumerate(windows):
        assert np.array_equal(window[:CONTEXT_SAMPLES], before[index * CHUNK_SAMPLES :][:CONTEXT_SAMPLES])
    assert framer.total_samples == len(samples)


def heard(probabilities, cut=None):
    """Events as (kind, chunk) of a stream of whole chunks, flushed at its end."""
    stream = VadStream(POLICY)
    values = np.array(probabilities, np.float32)
    events = [event for part in np.split(values, cut or []) for event in stream.push(part).events]
    events += stream.flush(np.zeros(0, np.float32), len(values) * 512).events
    return [(event.kind, event.offset / 512) for event in events]


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.1, 0.9, 0.1, 0.1, 0.1], []),  # shorter than min_speech
        ([0.1, 0.9, 0.9, 0.1, 0.1, 0.1], [(BEGIN, 1), (END, 3)]),
        ([0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1], [(BEGIN, 0), (END, 5)]),  # a pause below min_silence
        ([0.9, 0.4, 0.4, 0.1, 0.1, 0.1], [(BEGIN, 0), (END, 3)]),  # between the thresholds voice goes on
        ([0.4, 0.4, 0.4, 0.4], []),  # and does not begin
        ([0.9, 0.9, 0.9], [(BEGIN, 0), (END, 3)]),  # the stream ends while speech lasts
        ([0.9, 0.9, 0.9, 0.1], [(BEGIN, 0), (END, 3)]),  # or in the pause after it
        ([], []),
    ],
)
def test_hysteresis(probabilities, expected):
    assert heard(probabilities) == expected


@given(st.lists(st.floats(0, 1, width=32), max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_events_alternate_in_order_wherever_the_stream_is_cut(probabilities, cuts):
    events = heard(probabilities, sorted(cut % (len(probabilities) + 1) for cut in cuts))
    assert events == heard(probabilities)
    assert [kind for kind, _ in events] == [BEGIN, END] * (len(events) // 2)
    assert [offset for _, offset in events] == sorted(offset for _, offset in events)


def test_voiced_samples_stop_at_the_end_of_the_sound():
    stream = VadStream(POLICY)
    stream.push(np.array([0.9, 0.9, 0.2], np.float32))
    assert stream.voiced_samples == 1024
    step = stream.flush(np.array([0.9], np.float32), 3 * 512 + 100)
    assert stream.voiced_samples == 1124
    assert step.voiced.tolist() == [True]
    assert [event.offset for event in step.events] == [3 * 512 + 100]


def test_a_probability_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        VadStream(POLICY).push(np.array([0.5, np.nan], np.float32))


@pytest.mark.parametrize("change", [{"end_probability": 0.9}, {"begin_probability": 1.5}, {"min_silence": -1}])
def test_an_impossible_policy_is_refused(change):
    values = {"begin_probability": 0.5, "end_probability": 0.35, "min_speech": 0, "min_silence": 0}
    with pytest.raises(ValueError):
        VadPolicy(**(values | change))
