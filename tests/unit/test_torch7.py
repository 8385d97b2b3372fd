"""Torch7 files: what they hold comes out as it went in, and what is hostile does not get far."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fav.errors import FavError
from fav.model.torch7 import MAX_DEPTH, TorchObject, load, style_model
from tests.helpers.material import material
from tests.helpers.torch7_writer import KINDS, Raw, View, Writer, save, sequence

LONGS = pytest.mark.parametrize("long", [8, 4])


def ints(*values: int) -> Raw:
    return Raw(struct.pack(f"<{len(values)}i", *values))


def header(index: int, class_name: str) -> bytes:
    return ints(4, index, 3) + b"V 1" + ints(len(class_name)) + class_name.encode()


@LONGS
def test_a_table_comes_back_as_it_was(tmp_path, long):
    table = {
        "iter": 60000,
        "loss": {1: 5.5, 2: -0.25},
        "name": "für Elise",
        "train": True,
        "quiet": False,
        "none": None,
        "empty": {},
        "": "",
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    read = load(save(tmp_path / "table.t7", table, long))
    assert np.array_equal(read.pop("weight"), table.pop("weight"))
    assert read == table


@LONGS
@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("code", KINDS)
def test_every_kind_of_number_is_read(tmp_path, code, cuda, long):
    array = np.array([[0, 1, 100], [127, 3, 7]], code)
    read = load(save(tmp_path / "tensor.t7", array, long, cuda))
    assert read.dtype == code and np.array_equal(read, array)


@LONGS
def test_a_tensor_looks_at_its_storage_through_strides_and_an_offset(tmp_path, long):
    storage = np.arange(20, dtype=np.float32)
    views = {
        "transposed": View(storage, (3, 2), (1, 3), 4),
        "every other": View(storage, (5,), (2,), 1),
        "repeated": View(storage, (2, 4), (0, 1), 16),
    }
    read = load(save(tmp_path / "views.t7", views, long))
    assert read["transposed"].tolist() == [[4, 7], [5, 8], [6, 9]]
    assert read["every other"].tolist() == [1, 3, 5, 7, 9]
    assert read["repeated"].tolist() == [[16, 17, 18, 19]] * 2
    assert np.shares_memory(read["every other"], read["transposed"])


def test_one_object_in_two_places_is_one_object(tmp_path):
    shared = TorchObject("nn.ReLU", {"inplace": True})
    read = load(
        save(tmp_path / "shared.t7", {"a": shared, "b": shared, "c": TorchObject("nn.ReLU", {"inplace": True})})
    )
    assert read["a"] is read["b"] and read["a"] is not read["c"]
    assert read["a"].class_name == "nn.ReLU" and read["a"].fields == {"inplace": True}


def test_an_object_may_hold_itself(tmp_path):
    module = TorchObject("nn.Sequential", {})
    module.fields["parent"] = module
    read = load(save(tmp_path / "loop.t7", module))
    assert read.fields["parent"] is read


def test_empty_tensors_have_no_values(tmp_path):
    raw = Raw(header(9, "torch.FloatTensor") + ints(0) + struct.pack("<q", 1) + ints(0))
    assert load(save(tmp_path / "empty.t7", {"output": raw}))["output"].size == 0


def test_files_without_versions_are_read(tmp_path):
    raw = Raw(ints(4, 1, 7) + b"nn.ReLU" + ints(3, 2, 0))
    assert load(save(tmp_path / "old.t7", raw)).class_name == "nn.ReLU"


@pytest.mark.parametrize("level", range(1, 7))
def test_the_published_spynet_weights_are_read(level):
    model = load(material(f"spynet/modelL{level}_F.t7"))
    modules = [model.fields["modules"][number] for number in range(1, 10)]
    assert model.class_name == "nn.Sequential"
    assert [module.fields["weight"].shape for module in modules[::2]] == [
        (32, 8, 7, 7),
        (64, 32, 7, 7),
        (32, 64, 7, 7),
        (16, 32, 7, 7),
        (2, 16, 7, 7),
    ]
    assert all(1e-3 < module.fields["weight"].std() < 1 for module in modules[::2])
    assert {module.class_name for module in modules[1::2]} == {"cudnn.ReLU"}
    assert modules[0].fields["kW"] == 7 and modules[0].fields["bias"].dtype == np.float32


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_lua_functions_are_refused(tmp_path, kind):
    path = save(tmp_path / "code.t7", {"f": Raw(ints(kind, 1, 4) + b"\x1bLua")})
    with pytest.raises(FavError, match="code.t7.*Lua function"):
        load(path)


HOSTILE = {
    "a string of -1 bytes": ints(2, -1),
    "a string longer than the file": ints(2, 2**31 - 1),
    "a table of 2 billion entries": ints(3, 1, 2**31 - 1),
    "no kind of object": ints(99),
    "a table as a key": ints(3, 1, 1, 3, 2, 0, 0),
    "nil as a key": ints(3, 1, 1, 0, 0),
    "a storage of 2^62 values": header(1, "torch.FloatStorage") + struct.pack("<q", 2**62),
    "a storage of -8 values": header(1, "torch.FloatStorage") + struct.pack("<q", -8),
    "a tensor of 2 billion dimensions": header(1, "torch.FloatTensor") + ints(2**31 - 1),
    "a tensor of -1 dimensions": header(1, "torch.FloatTensor") + ints(-1),
    "an unknown class with contents of its own": header(1, "torch.Generator") + ints(1) + bytes(8),
    "a tensor without a storage": header(1, "torch.FloatTensor")
    + ints(1)
    + struct.pack("<3q", 1, 1, 1)
    + ints(3, 2, 0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nonsense_is_refused_with_the_place(tmp_path, what):
    path = tmp_path / "hostile.t7"
    path.write_bytes(HOSTILE[what])
    with pytest.raises(FavError, match=r"hostile.t7: not a readable Torch7 file: at byte \d+") as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "view",
    [
        View(np.zeros(6, np.float32), (2, 3), (3, 1), 1),
        View(np.zeros(6, np.float32), (2, 3), (3, 1), -1),
        View(np.zeros(6, np.float32), (2,), (-1,), 5),
        View(np.zeros(6, np.float32), (7,), (0,)),
        View(np.zeros(6, np.float32), (2**40, 2**40), (0, 0)),
        View(np.zeros(6, np.float32), (-1, 3), (3, 1)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, view):
    with pytest.raises(FavError, match="expected a tensor within its 6 values"):
        load(save(tmp_path / "beyond.t7", view))


def test_a_view_is_no_storage(tmp_path):
    """A tensor that repeats one value poses as a storage of ten: the nine beyond must stay out of reach."""
    writer = Writer()
    writer.object({"view": View(np.zeros(10, np.float32), (10,), (0,), 9)})
    index = len(writer.written)  # of its storage; the view itself came just before
    raw = header(index + 1, "torch.FloatTensor") + ints(1) + struct.pack("<3q", 10, 1, 1) + ints(4, index - 1)
    path = save(tmp_path / "pose.t7", {"view": View(np.zeros(10, np.float32), (10,), (0,), 9), "pose": Raw(raw)})
    with pytest.raises(FavError, match="expected the storage of a tensor"):
        load(path)


def test_nesting_has_an_end(tmp_path):
    raw = b"".join(ints(3, number + 1, 1, 1) + struct.pack("<d", 1) for number in range(50 * MAX_DEPTH)) + ints(0)
    path = tmp_path / "deep.t7"
    path.write_bytes(raw)
    with pytest.raises(FavError, match=f"{MAX_DEPTH} levels"):
        load(path)


def test_every_truncation_is_refused(tmp_path):
    module = TorchObject("nn.Linear", {"weight": np.ones((2, 2), np.float32)})
    whole, path = save(tmp_path / "whole.t7", sequence(module)).read_bytes(), tmp_path / "part.t7"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(FavError, match="part.t7"):
            load(path)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(FavError, match="missing.t7: cannot be read: No such file"):
        load(tmp_path / "missing.t7")


@settings(deadline=None)
@given(data=st.data())
def test_damaged_bytes_raise_nothing_but_fav_error_and_take_little_memory(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    weight = View(np.arange(12, dtype=np.float32), (2, 3), (3, 1), 2)
    damaged = bytearray(save(folder / "x.t7", sequence(TorchObject("nn.Linear", {"weight": weight}))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 8, 127, 128, 255]))
    (folder / "x.t7").write_bytes(damaged)
    tracemalloc.start()
    try:
        load(folder / "x.t7")
    except FavError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_residual_block_before_any_convolution_is_refused():
    larger = TorchObject("nn.SpatialUpSamplingNearest", {"scale_factor": 2.0})
    block = TorchObject("nn.Sequential", {"modules": {}})
    with pytest.raises(FavError, match="expected convolutions"):
        style_model(TorchObject("nn.Sequential", {"modules": {1.0: larger, 2.0: block}}))
