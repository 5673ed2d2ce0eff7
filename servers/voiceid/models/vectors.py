"""Golden vectors: inputs with the outputs a model must give for them, kept as one ``.npz`` file.

Case ``i`` is the pair ``input_i`` (any float type) and ``output_i`` (float32). The built-in models' files are part
of this package and come from an independent forward pass in numpy; an added model's file is made when it is added.
"""

import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4

Array = NDArray[np.float32]
Case = tuple[Array, Array]


def synthetic(shape: Sequence[int], seed: int) -> Array:
    """Reproducible input, f32 multiples of 1/16 in [-4, 4): a multiplicative generator, the same on every machine."""
    count = int(np.prod(shape))
    state = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(1_000_003)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    state ^= state >> np.uint64(31)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    level = (state >> np.uint64(57)).astype(np.float32)
    return ((level - 64) / 16).reshape(shape).astype(np.float32)


def to_bytes(cases: Sequence[Case]) -> bytes:
    arrays: dict[str, Any] = {}
    for index, (given, expected) in enumerate(cases):
        half = given.astype(np.float16)
        arrays[f"input_{index}"] = half if np.array_equal(half, given) else given
        arrays[f"output_{index}"] = expected.astype(np.float32)
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes) -> list[Case]:
    """Raises ValueError when the bytes are no golden file."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            count = len(arrays.files) // 2
            cases = [
                (arrays[f"input_{index}"].astype(np.float32), arrays[f"output_{index}"].astype(np.float32))
                for index in range(count)
            ]
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError("not a golden file") from error
    if not cases:
        raise ValueError("a golden file without cases")
    return cases


def deviation(cases: Sequence[Case], run: Callable[[Array], Array]) -> float:
    """Largest absolute error over all cases, relative to the output where that exceeds 1; infinite for NaN or shape."""
    return max(_error(run(given), expected) for given, expected in cases)


def _error(actual: Array, expected: Array) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.max(np.abs(actual - expected)) / max(1.0, float(np.max(np.abs(expected)))))
