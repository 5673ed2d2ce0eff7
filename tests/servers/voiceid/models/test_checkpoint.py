"""The checkpoint reader admits tensors and refuses every other thing that a pickle can name."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from servers.voiceid.models.checkpoint import read_tensors
from servers.voiceid.models.faults import ModelError, ModelFault

MAGIC = 0x1950A86A20F9469CFC6C
VALUES = np.arange(6, dtype="<f4")


def _split(text):
    module, _, attribute = text.rpartition(".")
    return f"{module}\n{attribute}\n".encode()


def tensor_program(offset=0, shape=(2, 3), strides=(3, 1), length=6):
    """The pickle torch writes for ``{"w": tensor}``, by hand: no torch here."""
    storage = b"(X\x07\x00\x00\x00storagec" + b"torch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += _int(length) + b"tQ"
    arguments = b"(" + storage + _int(offset) + _ints(shape) + _ints(strides) + b"\x89ccollections\nOrderedDict\n)Rt"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
    return b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s."


def _int(value):
    return b"J" + struct.pack("<i", value)


def _ints(values):
    return b"(" + b"".join(map(_int, values)) + b"t"


def zip_checkpoint(path, program, storages):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def legacy_checkpoint(path, program, storages):
    parts = [pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True})]
    parts += [program, pickle.dumps(list(storages), 2)]
    parts += [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


FORMATS = [zip_checkpoint, legacy_checkpoint]


@pytest.mark.parametrize("write", FORMATS)
def test_tensors_come_out_of_both_formats(write, tmp_path):
    tensors = read_tensors(write(tmp_path / "c.pt", tensor_program(), {"0": VALUES.tobytes()}))
    assert list(tensors) == ["w"]
    np.testing.assert_array_equal(tensors["w"], VALUES.reshape(2, 3))


@pytest.mark.parametrize("write", FORMATS)
def test_a_view_keeps_its_offset_and_strides(write, tmp_path):
    program = tensor_program(offset=1, shape=(2, 2), strides=(1, 2))
    tensors = read_tensors(write(tmp_path / "c.pt", program, {"0": VALUES.tobytes()}))
    np.testing.assert_array_equal(tensors["w"], [[1, 3], [2, 4]])


class Runs:
    """Pickles to a call of ``os.mkdir``: the folder shows whether it was made."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("write", FORMATS)
def test_a_pickle_that_calls_something_is_refused_by_name_and_not_run(write, tmp_path):
    folder = tmp_path / "pwned"
    program = pickle.dumps(OrderedDict(w=Runs(str(folder))), 2)
    with pytest.raises(ModelError, match=r"posix\.mkdir|nt\.mkdir") as refusal:
        read_tensors(write(tmp_path / "c.pt", program, {}))
    assert refusal.value.reason is ModelFault.CHECKPOINT_REFUSED
    assert not folder.exists()


@pytest.mark.parametrize(
    "forbidden", ["builtins.eval", "torch.load", "torch._utils._rebuild_parameter", "collections.defaultdict"]
)
def test_every_name_off_the_list_is_refused(forbidden, tmp_path):
    program = b"\x80\x02c" + _split(forbidden) + b"."
    with pytest.raises(ModelError, match=forbidden.replace(".", r"\.")):
        read_tensors(zip_checkpoint(tmp_path / "c.pt", program, {}))


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(
    "bad",
    [
        {"offset": 3},
        {"offset": -1},
        {"strides": (-3, 1)},
        {"shape": (2, 3, 1)},
        {"shape": (2, 1_000_000)},
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(write, bad, tmp_path):
    path = write(tmp_path / "c.pt", tensor_program(**bad), {"0": VALUES.tobytes()})
    with pytest.raises(ModelError) as refusal:
        read_tensors(path)
    assert refusal.value.reason is ModelFault.CHECKPOINT_REFUSED


@pytest.mark.parametrize("write", FORMATS)
def test_a_truncated_file_is_refused_wherever_it_is_cut(write, tmp_path):
    whole = write(tmp_path / "c.pt", tensor_program(), {"0": VALUES.tobytes()}).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_tensors(tmp_path / "cut.pt")
