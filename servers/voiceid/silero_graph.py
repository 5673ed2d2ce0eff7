"""Rebuilds Silero VAD (16 kHz) from the published ONNX file's weights as one graph over streams and time.

The published graph takes one chunk a call and spends most of its time outside arithmetic. Here the convolutions of a
chunk are dense matrices over all chunks of all streams, and the LSTM runs along time with its state carried in and out.
Same numbers within 1e-6, at a fifth to a ninth of the cost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from servers.runtime.wheels import Member, Progress, Wheel
from servers.voiceid.models.wheels import fetch
from servers.voiceid.silero import VAD_VERSION, VadFault, VadModel, vad_path
from servers.voiceid.vad import WINDOW_SAMPLES

PUBLISHED = Member(
    "silero_vad/data/silero_vad_16k_op15.onnx", "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49"
)
# MIT. Its own requirements (torch) are not wanted: the wheel is unzipped, never installed.
SILERO = Wheel("silero-vad", VAD_VERSION, 11_317_527, (PUBLISHED,))

_FFT, _HOP, _BINS, _HIDDEN = 256, 128, 129, 128
# Steps in, stride, steps out of the four convolutions over the four spectra of a chunk.
_CONVOLUTIONS = ((4, 1, 4), (4, 2, 2), (2, 2, 1), (1, 1, 1))

Floats = npt.NDArray[np.float32]


class VadGraphError(ValueError):
    """The file is not the Silero VAD graph that this module knows."""


def prepare_vad(cache_dir: Path, progress: Progress) -> Path:
    """The batched model file in ``cache_dir``, fetched and built where it is absent or damaged.

    Raises :class:`servers.voiceid.models.faults.ModelError` when the wheel cannot be had.
    """
    place = vad_path(cache_dir)
    if _works(place):
        return place
    published = fetch(SILERO, cache_dir, progress)[PUBLISHED].read_bytes()
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(build_vad(published))
    partial.replace(place)
    return place


def _works(place: Path) -> bool:
    try:
        VadModel(place)
    except VadFault:
        return False
    return True


def build_vad(published: bytes) -> bytes:
    """The batched graph from ``silero_vad_16k_op15.onnx`` (``silero-vad`` 6.2.3); raises :class:`VadGraphError`.

    Inputs: ``windows`` [B, N, 576], ``lengths`` int32 [B], ``h`` and ``c`` [1, B, 128].
    Outputs: ``probabilities`` [B, N], ``hn`` and ``cn`` [1, B, 128].
    """
    return build_graph(read_weights(published)).SerializeToString()


def read_weights(published: bytes) -> dict[str, Floats]:
    """The weights by name, without the prefixes of the export."""
    try:
        graph = onnx.load_model_from_string(published).graph
    except Exception as error:  # protobuf's DecodeError is not public in every runtime
        raise VadGraphError(f"not an ONNX file: {error}") from error
    weights = {item.name.removeprefix("model."): numpy_helper.to_array(item) for item in graph.initializer}
    missing = [name for name, shape in _SHAPES.items() if name not in weights or weights[name].shape != shape]
    if missing:
        raise VadGraphError(f"not the graph that is known; missing or of another shape: {', '.join(missing)}")
    return {name: weights[name] for name in _SHAPES}


_SHAPES: Mapping[str, tuple[int, ...]] = {
    "stft.forward_basis_buffer": (2 * _BINS, 1, _FFT),
    "encoder.0.reparam_conv.weight": (128, _BINS, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (4 * _HIDDEN, _HIDDEN),
    "decoder.rnn.weight_hh": (4 * _HIDDEN, _HIDDEN),
    "decoder.rnn.bias_ih": (4 * _HIDDEN,),
    "decoder.rnn.bias_hh": (4 * _HIDDEN,),
    "decoder.decoder.2.weight": (1, _HIDDEN, 1),
    "decoder.decoder.2.bias": (1,),
}


def build_graph(weights: Mapping[str, Floats]) -> onnx.ModelProto:
    """The graph of :func:`build_vad` from weights named as :func:`read_weights` names them."""
    graph = _Graph()
    spectra = _spectra(graph, weights["stft.forward_basis_buffer"])
    features = _encoder(graph, spectra, weights)
    _decoder(graph, features, weights)
    value = helper.make_tensor_value_info
    inputs = [
        value("windows", TensorProto.FLOAT, ["B", "N", WINDOW_SAMPLES]),
        value("lengths", TensorProto.INT32, ["B"]),
        value("h", TensorProto.FLOAT, [1, "B", _HIDDEN]),
        value("c", TensorProto.FLOAT, [1, "B", _HIDDEN]),
    ]
    outputs = [
        value("probabilities", TensorProto.FLOAT, ["B", "N"]),
        value("hn", TensorProto.FLOAT, [1, "B", _HIDDEN]),
        value("cn", TensorProto.FLOAT, [1, "B", _HIDDEN]),
    ]
    body = helper.make_graph(graph.nodes, "silero_vad", inputs, outputs, graph.constants)
    model = helper.make_model(body, producer_name="selene", opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike) -> str:
        array = np.ascontiguousarray(value)
        name = f"c{len(self.constants)}"
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name


def _spectra(graph: _Graph, basis: Floats) -> str:
    """Magnitudes [B·N, 4·129] of four half-overlapping frames of 256; the last frame is reflected at its end."""
    rows = graph.add("Reshape", "windows", graph.constant([-1, WINDOW_SAMPLES]))
    padded = graph.add("Pad", rows, graph.constant([0, 0, 0, 5 * _HOP - WINDOW_SAMPLES]), mode="reflect")
    hops = graph.add("Reshape", padded, graph.constant([-1, 5, _HOP]))
    axis = graph.constant([1])
    first = graph.add("Slice", hops, graph.constant([0]), graph.constant([4]), axis)
    second = graph.add("Slice", hops, graph.constant([1]), graph.constant([5]), axis)
    frames = graph.add("Reshape", graph.add("Concat", first, second, axis=2), graph.constant([-1, _FFT]))
    parts = graph.add("MatMul", frames, graph.constant(basis[:, 0].T))
    squares = graph.add("Reshape", graph.add("Mul", parts, parts), graph.constant([-1, 2, _BINS]))
    power = graph.add("ReduceSum", squares, graph.constant([1]), keepdims=0)
    return graph.add("Reshape", graph.add("Sqrt", power), graph.constant([-1, 4 * _BINS]))


def _encoder(graph: _Graph, spectra: str, weights: Mapping[str, Floats]) -> str:
    """Four convolutions with ReLU, each one matrix: [B·N, 516] to [B·N, 128]."""
    hidden = spectra
    for index, (steps, stride, produced) in enumerate(_CONVOLUTIONS):
        kernel = weights[f"encoder.{index}.reparam_conv.weight"]
        bias = np.tile(weights[f"encoder.{index}.reparam_conv.bias"], produced)
        matrix = graph.constant(_dense(kernel, steps, stride, produced))
        hidden = graph.add("Relu", graph.add("Gemm", hidden, matrix, graph.constant(bias)))
    return hidden


def _decoder(graph: _Graph, features: str, weights: Mapping[str, Floats]) -> None:
    """The LSTM along time, then one probability a chunk."""
    graph.add("Shape", "windows", output="shape", start=0, end=2)
    shape = graph.add("Concat", "shape", graph.constant([_HIDDEN]), axis=0)
    sequence = graph.add("Transpose", graph.add("Reshape", features, shape), perm=[1, 0, 2])
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, r, b_w, b_r = (_onnx_gates(weights[f"decoder.rnn.{name}"]) for name in names)
    constants = [graph.constant(value[None]) for value in (w, r, np.concatenate((b_w, b_r)))]
    lstm = helper.make_node(
        "LSTM", [sequence, *constants, "lengths", "h", "c"], ["lstm", "hn", "cn"], hidden_size=_HIDDEN
    )
    graph.nodes.append(lstm)
    product = graph.add("MatMul", graph.add("Relu", "lstm"), graph.constant(weights["decoder.decoder.2.weight"][0]))
    logits = graph.add("Add", product, graph.constant(weights["decoder.decoder.2.bias"]))
    by_time = graph.add("Squeeze", graph.add("Sigmoid", logits), graph.constant([1, 3]))
    graph.add("Transpose", by_time, output="probabilities", perm=[1, 0])


def _dense(kernel: Floats, steps: int, stride: int, produced: int) -> Floats:
    """A convolution of width 3, padded by 1, over ``steps`` positions as a matrix [steps·in, produced·out]."""
    out_channels, in_channels, width = kernel.shape
    matrix = np.zeros((steps, in_channels, produced, out_channels), np.float32)
    for out in range(produced):
        for tap in range(width):
            source = out * stride + tap - 1
            if 0 <= source < steps:
                matrix[source, :, out, :] = kernel[:, :, tap].T
    return matrix.reshape(steps * in_channels, produced * out_channels)


def _onnx_gates(value: Floats) -> Floats:
    """Torch orders the gates i f g o, ONNX i o f g."""
    i, f, g, o = np.split(value, 4)
    return np.concatenate((i, o, f, g))
