"""CAM++ speaker encoder (3D-Speaker, zh-en common): 2-D convolution head, densely connected TDNN with context gates.

Input ``feats`` f32[B, T, 80] (Kaldi fbank minus its mean over time, T >= 3), output ``embedding`` f32[B, 192], raw.

Time is kept as the last axis of a 4-D tensor [B, C, 1, T] throughout, because ONNX Runtime blocks channels for
SIMD in 2-D convolutions only. Batch norms that follow a convolution are folded into it. No ReLU follows the last
batch norm: the published architecture has none, and with one half of the embedding is lost.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from servers.voiceid.models.graph import Graph

_BANDS = 80
_DIMENSION = 192
_HEAD_CHANNELS = 32
_EPSILON = 1e-5
_CONTEXT_FRAMES = 100
_BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation

Array = NDArray[Any]


def build(tensors: Mapping[str, Array]) -> onnx.ModelProto:
    """The encoder as ONNX, from the tensors of the checkpoint."""
    return _Encoder(tensors).build()


class _Encoder:
    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors
        self._graph = Graph("campplus")

    def build(self) -> onnx.ModelProto:
        x = self._entry(self._head())
        spread = self._spread(x)
        for block, (layers, dilation) in enumerate(_BLOCKS, start=1):
            for layer in range(1, layers + 1):
                x = self._dense_layer(x, f"xvector.block{block}.tdnnd{layer}", dilation, spread)
            x = self._activated(x, f"xvector.transit{block}.nonlinear.batchnorm")
            norm = "xvector.out_nonlinear.batchnorm" if block == len(_BLOCKS) else None
            x = self._convolution(x, self._weight(f"xvector.transit{block}.linear")[..., None], norm=norm)
        embedding = self._dense(self._statistics(self._relu(x)))
        return self._graph.build({"feats": ["B", "T", _BANDS]}, embedding, "embedding", ["B", _DIMENSION])

    def _head(self) -> str:
        bands_first = self._graph.node("Transpose", ["feats"], {"perm": [0, 2, 1]})
        x = self._graph.node("Unsqueeze", [bands_first, self._graph.constant([1])])
        x = self._relu(self._square(x, "head.conv1", "head.bn1"))
        for stage in ("head.layer1", "head.layer2"):
            x = self._residual(x, f"{stage}.0", stride=2)
            x = self._residual(x, f"{stage}.1", stride=1)
        return self._relu(self._square(x, "head.conv2", "head.bn2", stride=2))

    def _residual(self, x: str, name: str, stride: int) -> str:
        y = self._relu(self._square(x, f"{name}.conv1", f"{name}.bn1", stride))
        y = self._square(y, f"{name}.conv2", f"{name}.bn2")
        if stride != 1:
            weight = self._weight(f"{name}.shortcut.0")
            x = self._convolution(x, weight, norm=f"{name}.shortcut.1", attributes={"strides": [stride, 1]})
        return self._relu(self._graph.node("Add", [y, x]))

    def _square(self, x: str, name: str, norm: str, stride: int = 1) -> str:
        attributes = {"pads": [1, 1, 1, 1], "strides": [stride, 1]}
        return self._convolution(x, self._weight(name), norm=norm, attributes=attributes)

    def _entry(self, x: str) -> str:
        """The TDNN layer over 320 flattened channels, as one convolution over all remaining bands."""
        flat = self._weight("xvector.tdnn.linear")
        weight = flat.reshape(flat.shape[0], _HEAD_CHANNELS, _BANDS // 8, flat.shape[2])
        attributes = {"pads": [0, 2, 0, 2], "strides": [1, 2]}
        return self._relu(self._convolution(x, weight, norm="xvector.tdnn.nonlinear.batchnorm", attributes=attributes))

    def _dense_layer(self, x: str, name: str, dilation: int, spread: str) -> str:
        hidden = self._activated(x, f"{name}.nonlinear1.batchnorm")
        bottleneck = self._weight(f"{name}.linear1")[..., None]
        hidden = self._relu(self._convolution(hidden, bottleneck, norm=f"{name}.nonlinear2.batchnorm"))
        local = self._convolution(
            hidden,
            self._weight(f"{name}.cam_layer.linear_local")[:, :, None],
            attributes={"pads": [0, dilation, 0, dilation], "dilations": [1, dilation]},
        )
        gated = self._graph.node("Mul", [local, self._gate(hidden, f"{name}.cam_layer", spread)])
        return self._graph.node("Concat", [x, gated], {"axis": 1})

    def _gate(self, hidden: str, name: str, spread: str) -> str:
        """One gate a segment of 100 frames, computed once a segment and then spread over its frames."""
        window = {"kernel_shape": [1, _CONTEXT_FRAMES], "strides": [1, _CONTEXT_FRAMES], "ceil_mode": 1}
        segments = self._graph.node("AveragePool", [hidden], window)
        context = self._graph.node("Add", [self._graph.node("GlobalAveragePool", [hidden]), segments])
        squeezed = self._relu(self._biased(context, f"{name}.linear1"))
        gates = self._graph.node("Sigmoid", [self._biased(squeezed, f"{name}.linear2")])
        return self._graph.node("MatMul", [gates, spread])

    def _spread(self, x: str) -> str:
        """f32[segments, T]: which segment each frame belongs to, one-hot."""
        graph = self._graph
        zero, one, size = (graph.constant(np.int64(value)) for value in (0, 1, _CONTEXT_FRAMES))
        frames = graph.node("Gather", [graph.node("Shape", [x]), graph.constant(np.int64(3))])
        segment = graph.node("Div", [graph.node("Range", [zero, frames, one]), size])
        last = graph.node("Div", [graph.node("Sub", [frames, one]), size])
        count = graph.node("Add", [last, one])
        return graph.node("OneHot", [segment, count, graph.constant(np.array([0.0, 1.0]))], {"axis": 0})

    def _statistics(self, x: str) -> str:
        """Mean and unbiased standard deviation over time: f32[B, 1024]."""
        graph = self._graph
        frames = graph.node(
            "Cast",
            [graph.node("Gather", [graph.node("Shape", [x]), graph.constant(np.int64(3))])],
            {"to": onnx.TensorProto.FLOAT},
        )
        mean = graph.node("ReduceMean", [x], {"axes": [3], "keepdims": 1})
        squares = graph.node("ReduceSumSquare", [graph.node("Sub", [x, mean])], {"axes": [3], "keepdims": 1})
        freedom = graph.node("Sub", [frames, graph.constant(1.0)])
        deviation = graph.node("Sqrt", [graph.node("Div", [squares, freedom])])
        return graph.node("Flatten", [graph.node("Concat", [mean, deviation], {"axis": 1})], {"axis": 1})

    def _dense(self, statistics: str) -> str:
        scale, shift = self._norm("xvector.dense.nonlinear.batchnorm")
        weight = self._weight("xvector.dense.linear")[..., 0] * scale[:, None]
        inputs = [statistics, self._graph.constant(weight), self._graph.constant(shift)]
        return self._graph.node("Gemm", inputs, {"transB": 1})

    def _activated(self, x: str, name: str) -> str:
        """Batch norm and ReLU before a convolution: nothing to fold into."""
        parts = [self._tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        inputs = [x, *(self._graph.constant(part) for part in parts)]
        return self._relu(self._graph.node("BatchNormalization", inputs, {"epsilon": _EPSILON}))

    def _biased(self, x: str, name: str) -> str:
        weight, bias = self._weight(name)[..., None], self._tensors[f"{name}.bias"]
        return self._graph.node("Conv", [x, self._graph.constant(weight), self._graph.constant(bias)])

    def _convolution(
        self, x: str, weight: Array, norm: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """A convolution without bias; ``norm`` names the batch norm that follows it and is folded in."""
        if norm is None:
            return self._graph.node("Conv", [x, self._graph.constant(weight)], attributes)
        scale, shift = self._norm(norm)
        folded = self._graph.constant(weight * scale[:, None, None, None])
        return self._graph.node("Conv", [x, folded, self._graph.constant(shift)], attributes)

    def _norm(self, name: str) -> tuple[Array, Array]:
        """Batch norm as (scale, shift) in float64; a norm without affine parameters has neither weight nor bias."""
        deviation = np.sqrt(self._tensors[f"{name}.running_var"].astype(np.float64) + _EPSILON)
        scale = self._tensors.get(f"{name}.weight", np.float64(1)) / deviation
        return scale, self._tensors.get(f"{name}.bias", np.float64(0)) - self._tensors[f"{name}.running_mean"] * scale

    def _weight(self, name: str) -> Array:
        return self._tensors[f"{name}.weight"]

    def _relu(self, x: str) -> str:
        return self._graph.node("Relu", [x])
