"""Reads torch checkpoints without torch: tensors come out as numpy arrays, anything else in the pickle is refused.

A pickle is a program. This reader gives it four names to call (an ordered dict, a tensor rebuild, storages, sizes)
and stops at the first other one, naming it. Both of torch's formats are read: the zip archive and the legacy
single file (magic, protocol, system information, pickle, storage keys, then the raw storages).
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from servers.voiceid.models.faults import ModelError, ModelFault

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "?",
}


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    key: str
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a checkpoint by dotted name (``model_state.lstm.weight_ih_l0``); plain values are left out.

    Raises ModelError(CHECKPOINT_REFUSED) for any global that is no tensor, and for truncated or malformed files.
    """
    try:
        tree, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        return _flatten(tree, storages)
    except ModelError:
        raise
    except Exception as error:  # a malformed pickle can raise anything; all of it means the same refusal
        raise _refused(f"{path.name} is no readable checkpoint ({type(error).__name__}: {error})") from error


def _refused(message: str) -> ModelError:
    return ModelError(ModelFault.CHECKPOINT_REFUSED, message)


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if (module, name) == ("torch", "Size"):
            return tuple
        raise _refused(f"the checkpoint asks for {module}.{name}; only tensors are admitted")

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], _StorageType)):
            raise _refused("the checkpoint refers to something that is no tensor storage")
        return _Storage(pid[1].dtype, str(pid[2]), int(pid[4]))


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise _refused("a tensor of the checkpoint has no storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read_zip(path: Path) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise _refused(f"{path.name} holds {len(pickles)} pickles instead of one")
        root = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as stream:
            tree = _TensorUnpickler(stream).load()
        prefix = f"{root}data/"
        return tree, {
            name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if name.startswith(prefix)
        }


def _read_legacy(path: Path) -> tuple[Any, dict[str, bytes]]:
    with path.open("rb") as stream:
        if _TensorUnpickler(stream).load() != _LEGACY_MAGIC or _TensorUnpickler(stream).load() != _LEGACY_PROTOCOL:
            raise _refused(f"{path.name} is neither a zip checkpoint nor a legacy one")
        if not _TensorUnpickler(stream).load().get("little_endian"):
            raise _refused(f"{path.name} was written on a big-endian machine")
        tree = _TensorUnpickler(stream).load()
        sizes = {tensor.storage.key: np.dtype(tensor.storage.dtype).itemsize for tensor in _tensors(tree).values()}
        keys = [str(key) for key in _TensorUnpickler(stream).load()]
        return tree, {key: _read_legacy_storage(stream, sizes.get(key, 1)) for key in keys}


def _read_legacy_storage(stream: BinaryIO, itemsize: int) -> bytes:
    length = int.from_bytes(stream.read(8), "little", signed=True) * itemsize
    data = stream.read(max(length, 0))
    if length < 0 or len(data) != length:
        raise _refused("the checkpoint is truncated")
    return data


def _tensors(tree: Any, prefix: str = "") -> dict[str, _Tensor]:
    if isinstance(tree, _Tensor):
        return {prefix: tree}
    if not isinstance(tree, Mapping):
        return {}
    found: dict[str, _Tensor] = {}
    for key, value in tree.items():
        found |= _tensors(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _flatten(tree: Any, storages: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    return {name: _materialise(tensor, storages) for name, tensor in _tensors(tree).items()}


def _materialise(tensor: _Tensor, storages: Mapping[str, bytes]) -> NDArray[Any]:
    flat = np.frombuffer(storages[tensor.storage.key], dtype=tensor.storage.dtype)
    if len(tensor.shape) != len(tensor.strides) or min((*tensor.shape, *tensor.strides, tensor.offset, 0)) < 0:
        raise _refused("a tensor of the checkpoint has an impossible shape")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or last >= flat.size:
        raise _refused("a tensor of the checkpoint reaches beyond its storage")
    strides = tuple(stride * flat.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False).copy()
