"""A small ONNX graph under construction: named constants, nodes in order, one file at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
_OPSET = 17
_IR_VERSION = 10  # read by every supported ONNX Runtime


class Graph:
    """Names are derived from the order of construction, so the same calls give the same bytes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any] | np.generic | Sequence[int] | float) -> str:
        """Add a constant (float64 becomes float32, integers int64) and return its name."""
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None, outputs: int = 1
    ) -> str:
        """Add a node and return the name of its last output."""
        base = f"n{len(self._nodes)}"
        names = [base] if outputs == 1 else [f"{base}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=base, **(attributes or {})))
        return names[-1]

    def build(self, inputs: Mapping[str, Shape], output: str, output_name: str, output_shape: Shape) -> onnx.ModelProto:
        """Close the graph: ``output`` is exposed as ``output_name``. The result has passed the ONNX checker."""
        self._nodes.append(helper.make_node("Identity", [output], [output_name], name=f"to_{output_name}"))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, list(output_shape))],
            self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, producer_name="selene", opset_imports=opsets, ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return model
