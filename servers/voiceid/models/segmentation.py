"""Speaker segmentation (pyannote 3.0): who of up to three local speakers talks when, and where two talk at once.

Input ``samples`` f32[B, 1, N] (16 kHz, N >= 4,000), output ``log_probabilities`` f32[B, F, 7]: a frame about every
17 ms, over the classes none; one; two; three; one and two; one and three; two and three. Levels are normalised
over the input, so neighbouring inputs are independent.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from servers.voiceid.models.graph import Graph

CLASSES = 7
OVERLAP_CLASSES = (4, 5, 6)

_HIDDEN = 128
_LAYERS = 4
_SAMPLE_RATE_HZ = 16_000
_SINC_STRIDE = 10
_SINC_LOW_HZ = 50.0
_SINC_BAND_HZ = 50.0
_EPSILON = 1e-5
_LEAK = 0.01

Array = NDArray[Any]


def build(tensors: Mapping[str, Array]) -> onnx.ModelProto:
    """The segmentation network as ONNX, from the tensors of the checkpoint."""
    weights = {name.removeprefix("state_dict."): tensor for name, tensor in tensors.items()}
    graph = Graph("segmentation")
    features = _sincnet(graph, weights)
    states = graph.node("Transpose", [graph.node("Squeeze", [features, graph.constant([2])])], {"perm": [2, 0, 1]})
    for layer in range(_LAYERS):
        states = _both_directions(graph, weights, layer, states)
    for layer in range(2):
        states = graph.node("LeakyRelu", [_linear(graph, weights, f"linear.{layer}", states)], {"alpha": _LEAK})
    scores = graph.node("LogSoftmax", [_linear(graph, weights, "classifier", states)], {"axis": -1})
    ordered = graph.node("Transpose", [scores], {"perm": [1, 0, 2]})
    return graph.build({"samples": ["B", 1, "N"]}, ordered, "log_probabilities", ["B", "F", CLASSES])


def sinc_filters(weights: Mapping[str, Array]) -> Array:
    """The learned band-pass filters f64[80, 251]: 40 even ones, then the 40 odd ones of the same bands."""
    name = "sincnet.conv1d.0.filterbank"
    low_hz, band_hz, window, times = (
        weights[f"{name}.{part}_"].astype(np.float64) for part in ("low_hz", "band_hz", "window", "n")
    )
    low = _SINC_LOW_HZ + np.abs(low_hz)
    high = np.clip(low + _SINC_BAND_HZ + np.abs(band_hz), _SINC_LOW_HZ, _SAMPLE_RATE_HZ / 2)
    even = (np.sin(high @ times) - np.sin(low @ times)) / (times / 2) * window
    odd = (np.cos(low @ times) - np.cos(high @ times)) / (times / 2) * window
    band = high - low
    cosine = np.concatenate([even, 2 * band, even[:, ::-1]], axis=1)
    sine = np.concatenate([odd, np.zeros_like(band), -odd[:, ::-1]], axis=1)
    filters: Array = np.concatenate([cosine, sine]) / (2 * np.concatenate([band, band]))
    return filters


def _sincnet(graph: Graph, weights: Mapping[str, Array]) -> str:
    """Three stages of convolution, pooling by 3 and instance norm; time stays the last axis of [B, C, 1, N]."""
    x = graph.node("Unsqueeze", [_instance_norm(graph, weights, "sincnet.wav_norm1d", "samples"), graph.constant([2])])
    for stage in range(3):
        if stage == 0:
            sinc = graph.constant(sinc_filters(weights)[:, None, None])
            x = graph.node("Abs", [graph.node("Conv", [x, sinc], {"strides": [1, _SINC_STRIDE]})])
        else:
            name = f"sincnet.conv1d.{stage}"
            weight, bias = weights[f"{name}.weight"][:, :, None], weights[f"{name}.bias"]
            x = graph.node("Conv", [x, graph.constant(weight), graph.constant(bias)])
        x = graph.node("MaxPool", [x], {"kernel_shape": [1, 3], "strides": [1, 3]})
        normed = _instance_norm(graph, weights, f"sincnet.norm1d.{stage}", x)
        x = graph.node("LeakyRelu", [normed], {"alpha": _LEAK})
    return x


def _instance_norm(graph: Graph, weights: Mapping[str, Array], name: str, x: str) -> str:
    parts = [graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias")]
    return graph.node("InstanceNormalization", [x, *parts], {"epsilon": _EPSILON})


def _both_directions(graph: Graph, weights: Mapping[str, Array], layer: int, states: str) -> str:
    """A bidirectional LSTM layer: [T, B, C] → [T, B, 256], forward states first."""
    parts = [_directions(weights, part, layer) for part in ("weight_ih", "weight_hh")]
    biases = [_directions(weights, part, layer) for part in ("bias_ih", "bias_hh")]
    inputs = [states, *map(graph.constant, parts), graph.constant(np.concatenate(biases, axis=1))]
    both = graph.node("LSTM", inputs, {"hidden_size": _HIDDEN, "direction": "bidirectional"})
    batch_first = graph.node("Transpose", [both], {"perm": [0, 2, 1, 3]})
    return graph.node("Reshape", [batch_first, graph.constant([0, 0, 2 * _HIDDEN])])


def _directions(weights: Mapping[str, Array], part: str, layer: int) -> Array:
    """torch's gate order (input, forget, cell, output) as ONNX's (input, output, forget, cell), both directions."""
    stacked = []
    for direction in ("", "_reverse"):
        i, f, g, o = np.split(weights[f"lstm.{part}_l{layer}{direction}"], 4)
        stacked.append(np.concatenate([i, o, f, g]))
    return np.stack(stacked)


def _linear(graph: Graph, weights: Mapping[str, Array], name: str, x: str) -> str:
    product = graph.node("MatMul", [x, graph.constant(weights[f"{name}.weight"].T)])
    return graph.node("Add", [product, graph.constant(weights[f"{name}.bias"])])
