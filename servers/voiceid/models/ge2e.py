"""GE2E speaker encoder (Resemblyzer weights): three LSTM layers of 256, last state → linear → ReLU → unit length.

Input ``mels`` f32[B, T, 40] (GE2E mel power, T = 160 frames), output ``embedding`` f32[B, 256], L2-normed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from servers.voiceid.models.graph import Graph

_LAYERS = 3
_HIDDEN = 256
_BANDS = 40


def build(tensors: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The encoder as ONNX, from the tensors of the checkpoint."""
    graph = Graph("ge2e")
    states = graph.node("Transpose", ["mels"], {"perm": [1, 0, 2]})
    for layer in range(_LAYERS - 1):
        states = graph.node("Squeeze", [_lstm(graph, tensors, layer, states, 1), graph.constant([1])])
    last = graph.node("Squeeze", [_lstm(graph, tensors, _LAYERS - 1, states, 2), graph.constant([0])])
    weight, bias = tensors["model_state.linear.weight"], tensors["model_state.linear.bias"]
    linear = graph.node("Gemm", [last, graph.constant(weight), graph.constant(bias)], {"transB": 1})
    raw = graph.node("Relu", [linear])
    norm = graph.node("ReduceL2", [raw], {"axes": [1], "keepdims": 1})
    unit = graph.node("Div", [raw, norm])
    return graph.build({"mels": ["B", "T", _BANDS]}, unit, "embedding", ["B", _HIDDEN])


def _lstm(graph: Graph, tensors: Mapping[str, NDArray[Any]], layer: int, states: str, outputs: int) -> str:
    """One layer: with one output all states [T, 1, B, H], with two the last state [1, B, H]."""
    part = {
        name: _gates(tensors[f"model_state.lstm.{name}_l{layer}"])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    bias = np.concatenate([part["bias_ih"], part["bias_hh"]])
    inputs = [states, *(graph.constant(value[None]) for value in (part["weight_ih"], part["weight_hh"], bias))]
    return graph.node("LSTM", inputs, {"hidden_size": _HIDDEN}, outputs)


def _gates(rows: NDArray[Any]) -> NDArray[Any]:
    """torch stacks the gates as input, forget, cell, output; ONNX as input, output, forget, cell."""
    i, f, g, o = np.split(rows, 4)
    return np.concatenate([i, o, f, g])
