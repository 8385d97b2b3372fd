"""Flow from files: the layouts, the numbering, what is refused, and a film that is the same as with the method itself."""

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fav import flow as flows
from fav.errors import FavError
from fav.flow.consistency import reliability
from fav.flow.field import estimate
from fav.flow.files import FlowFiles, check, estimate_with_files, find_wrong_option, read_flow
from fav.flow.io import write_flo
from tests.helpers.moving_texture import texture

SIZE = (96, 80)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """A texture that moves 4 pixels to the right and 2 up from frame to frame, then 3 to the left."""
    big = texture(140, 200)
    return [big[30 + 2 * n : 110 + 2 * n, 60 - x : 156 - x].copy() for n, x in enumerate((0, 4, 8, 5, 2))]


@pytest.fixture
def exported(frames, tmp_path) -> FlowFiles:
    """DIS both ways, and its reliability, as files."""
    flow = flows.make("dis")
    for number, (before, here) in enumerate(zip(frames, frames[1:]), 1):
        onward, back = flow(here, before), flow(before, here)
        write_flo(tmp_path / f"bwd_{number:04d}.flo", onward)
        write_flo(tmp_path / f"fwd_{number - 1:04d}.flo", back)
        field = estimate(flow, here, before, 1)
        cv2.imwrite(str(tmp_path / f"reliable_{number:04d}.pgm"), 255 * field.reliability)
    return FlowFiles(tmp_path / "bwd_%04d.flo", tmp_path / "fwd_%04d.flo", tmp_path / "reliable_%04d.pgm")


def never(*frames):
    raise AssertionError("the flow is in the files")


@pytest.mark.parametrize("given", ["bwd fwd", "bwd reliable", "bwd", "fwd", ""])
def test_fields_from_files_are_those_of_the_method_bit_by_bit(given, exported, frames):
    files = FlowFiles(*(pattern if name in given.split() else None for name, pattern in
                        zip(("bwd", "fwd", "reliable"), (exported.backward, exported.forward, exported.reliability))))  # fmt: skip
    compute = never if given in ("bwd fwd", "bwd reliable") else flows.make("dis")
    assert files.is_complete(reverse=False) == (compute is never)
    for number in (1, 3, 4):
        wanted = estimate(flows.make("dis"), frames[number], frames[number - 1])
        found = estimate_with_files(files, compute, (number, number - 1), (frames[number], frames[number - 1]))
        assert np.array_equal(found.flow, wanted.flow) and np.array_equal(found.reliability, wanted.reliability)


def test_a_film_from_its_end_takes_forward_flow(exported, frames):
    files = FlowFiles(exported.backward, exported.forward)
    found = estimate_with_files(files, never, (2, 3), (frames[2], frames[3]))
    wanted = estimate(flows.make("dis"), frames[2], frames[3])
    assert np.array_equal(found.flow, wanted.flow) and np.array_equal(found.reliability, wanted.reliability)
    assert files.is_complete(reverse=True) and not FlowFiles(exported.backward, None, exported.reliability).is_complete(
        reverse=True
    )


def test_flow_further_than_a_neighbour_is_computed(exported, frames):
    found = estimate_with_files(exported, flows.make("dis"), (3, 0), (frames[3], frames[0]))
    assert np.array_equal(found.flow, estimate(flows.make("dis"), frames[3], frames[0]).flow)


def open_exr(flow: np.ndarray) -> bytes:
    """An OpenEXR file without compression, in 32-bit floats: x in R, y in G, 0 in B."""
    height, width = flow.shape[:2]

    def attribute(name: str, kind: str, data: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(data)) + data

    channels = b"".join(name + b"\0" + struct.pack("<iiii", 2, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<ii", 20000630, 2) + attribute("channels", "chlist", channels)
    head += attribute("compression", "compression", b"\0") + attribute("lineOrder", "lineOrder", b"\0")
    head += attribute("dataWindow", "box2i", window) + attribute("displayWindow", "box2i", window)
    head += attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0, 0))
    head += attribute("screenWindowWidth", "float", struct.pack("<f", 1)) + b"\0"
    line = 12 * width
    offsets = b"".join(struct.pack("<Q", len(head) + 8 * height + row * (8 + line)) for row in range(height))
    rows = [struct.pack("<ii", row, line) + np.float32([0 * flow[row, :, 0], flow[row, :, 1], flow[row, :, 0]]).tobytes()
            for row in range(height)]  # fmt: skip
    return head + offsets + b"".join(rows)


def test_layouts_are_read_with_what_is_not_known(tmp_path):
    flow = np.float32(np.dstack(np.mgrid[-2:2:0.5, -3:3:0.25]))
    known = np.ones(flow.shape[:2], bool)
    known[2, 3] = False
    missing = flow.copy()
    missing[2, 3] = 1e10
    (tmp_path / "a.flo").write_bytes(b"PIEH" + np.int32(flow.shape[1::-1]).tobytes() + missing.tobytes())
    np.save(tmp_path / "a.npy", missing)
    np.save(tmp_path / "b.npy", missing.transpose(2, 0, 1).astype(np.float64))
    missing[2, 3] = np.nan
    np.save(tmp_path / "c.npy", missing)
    kitti = np.dstack([known.astype(np.uint16), *(np.uint16(flow[..., axis] * 64 + 2**15) for axis in (1, 0))])
    cv2.imwrite(str(tmp_path / "a.png"), kitti)
    (tmp_path / "a.exr").write_bytes(open_exr(missing))
    for name in ("a.flo", "a.npy", "b.npy", "c.npy", "a.png", "a.exr"):
        found, where = read_flow(tmp_path / name)
        assert found.dtype == np.float32 and np.array_equal(where, known), name
        assert np.array_equal(found[known], flow[known]) and (found[2, 3] == 0).all(), name


@pytest.mark.parametrize(
    "name, data, complaint",
    [
        ("a.flo", b"hello", "expected a .flo file"),
        ("a.npy", b"hello", "does not read as one"),
        ("a.png", b"hello", "does not decode"),
        ("a.tif", b"II*", "ends in .flo, .png, .exr, .npy"),
        ("a.exr", b"v/1\x01", "FFmpeg cannot decode"),
        ("b.exr", b"hello", "FFmpeg cannot decode"),
        ("missing.exr", None, "No such file"),
        ("missing.flo", None, "No such file"),
        ("missing.npy", None, "No such file"),
        ("missing.png", None, "No such file"),
    ],
)
def test_what_is_no_flow_is_refused_in_one_line(name, data, complaint, tmp_path):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(FavError, match=complaint) as error:
        read_flow(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_arrays_of_another_shape_and_pictures_of_8_bits_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 6, 3)))
    np.save(tmp_path / "b.npy", np.array(["a"]))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((5, 6, 3), np.uint8))
    for name in ("a.npy", "b.npy", "a.png"):
        with pytest.raises(FavError, match="expected"):
            read_flow(tmp_path / name)


def test_unknown_flow_is_unreliable_and_white_means_reliable_unless_inverted(exported, frames, tmp_path):
    flow = flows.make("dis")(frames[1], frames[0])
    flow[20:30, 40:50] = 1e10
    (tmp_path / "bwd_0001.flo").write_bytes(b"PIEH" + np.int32(SIZE).tobytes() + flow.tobytes())
    mask = np.full(SIZE[::-1], 255, np.uint8)
    mask[60:70, 20:30] = 0
    found = {}
    for inverted in (False, True):
        cv2.imwrite(str(tmp_path / "reliable_0001.pgm"), ~mask if inverted else mask)
        files = FlowFiles(exported.backward, None, exported.reliability, inverted=inverted)
        found[inverted] = estimate_with_files(files, never, (1, 0), (frames[1], frames[0]), 1).reliability
    assert np.array_equal(found[False], found[True]) and 0.5 < found[False].mean() < 1
    assert (found[False][20:30, 40:50] == 0).all() and (found[False][60:70, 20:30] == 0).all()


def test_reliability_grows_its_holes_by_the_minimum_filter(exported, frames):
    wanted = reliability(
        *(estimate(flows.make("dis"), *pair).flow for pair in ((frames[1], frames[0]), (frames[0], frames[1]))),
        frames[1],
        9,
    )
    files = FlowFiles(exported.backward, None, exported.reliability)
    assert np.array_equal(estimate_with_files(files, never, (1, 0), (frames[1], frames[0]), 9).reliability, wanted)


def test_files_of_the_videos_size_serve_a_smaller_film(tmp_path):
    write_flo(tmp_path / "bwd_0001.flo", np.full((80, 96, 2), (8, -4), np.float32))
    found, known = FlowFiles(tmp_path / "bwd_%04d.flo").flow(1, 0, (48, 20))
    assert found.shape == (20, 48, 2) and np.allclose(found, (4, -1)) and known.all()


def test_numbers_and_y_of_other_programs(tmp_path):
    write_flo(tmp_path / "mv.0101.flo", np.full((4, 5, 2), (8, -4), np.float32))
    files = FlowFiles(tmp_path / "mv.%04d.flo", first=101, y_up=True)
    assert np.allclose(files.flow(1, 0, (5, 4))[0], (8, 4))
    check(files, range(0, 2), (), ((5, 4),))


# before a job begins


def test_whole_sets_pass_and_gaps_are_named(exported):
    check(exported, range(0, 5), (), (SIZE,))
    check(exported, range(2, 4), (), (SIZE,))
    exported.file(exported.backward, 3).unlink()
    with pytest.raises(FavError, match=r"--flow-from .*: expected a file for each of 4 frames, 1 are missing; the first is bwd_0003.flo, from "
                                       r"frame 3 to frame 2, .* numbers are 1 to 4.*--flow-first"):  # fmt: skip
        check(exported, range(0, 5), (), (SIZE,))
    with pytest.raises(
        FavError, match=r"--flow-forward-from .*, 2 are missing; the first is fwd_0004.flo, from frame 4 to frame 5"
    ):
        check(FlowFiles(None, exported.forward), range(0, 7), (), (SIZE,))


def test_across_a_cut_that_is_known_no_flow_is_needed(exported):
    exported.file(exported.backward, 3).unlink()
    exported.file(exported.forward, 2).unlink()
    exported.file(exported.reliability, 3).unlink()
    check(exported, range(0, 5), (3,), (SIZE,))
    with pytest.raises(FavError, match="1 are missing"):
        check(exported, range(0, 5), (2,), (SIZE,))


@pytest.mark.parametrize(
    "pattern, complaint",
    [
        ("bwd_0001.flo", "expected numbered files, like"),
        ("nothing_%04d.flo", "got none of that name"),
        ("bwd_%04d.tif", "convert the files"),
    ],
)
def test_patterns_that_are_none_are_refused(pattern, complaint, exported):
    with pytest.raises(FavError, match=complaint):
        check(FlowFiles(exported.backward.with_name(pattern)), range(0, 5), (), (SIZE,))


def test_another_size_is_refused_with_both(exported):
    with pytest.raises(FavError, match="expected the size of the video, 640x480 or 320x240, got 96x80"):
        check(exported, range(0, 5), (), ((640, 480), (320, 240)))


def test_right_files_leave_no_doubt(exported, frames):
    assert find_wrong_option(exported, dict(enumerate(frames))) is None
    still = dict.fromkeys(range(5), frames[0])
    for file in exported.backward.parent.glob("*.flo"):
        write_flo(file, np.zeros((*SIZE[::-1], 2), np.float32))
    assert find_wrong_option(exported, still) is None


def test_the_other_direction_is_told(exported, frames):
    swapped = FlowFiles(exported.forward, None)
    assert "as --flow-forward-from" in find_wrong_option(swapped, dict(enumerate(frames)))
    assert "as --flow-from" in find_wrong_option(FlowFiles(None, exported.backward), dict(enumerate(frames)))


def test_y_that_counts_upwards_is_told(exported, frames):
    for file in exported.backward.parent.glob("bwd*.flo"):
        write_flo(file, read_flow(file)[0] * np.float32([1, -1]))
    up = FlowFiles(exported.backward)
    assert "y seems to point upwards; use --flow-y-up" in find_wrong_option(up, dict(enumerate(frames)))
    assert find_wrong_option(FlowFiles(exported.backward, y_up=True), dict(enumerate(frames))) is None


def test_numbers_that_are_off_by_one_are_told(frames, tmp_path):
    shifted = [np.roll(frames[0], 6 * number * number, 1) for number in range(5)]  # faster from frame to frame
    for number in range(1, 5):
        write_flo(
            tmp_path / f"bwd_{number + 1:04d}.flo", np.full((*SIZE[::-1], 2), (-6 * (2 * number - 1), 0), np.float32)
        )
    wrong = FlowFiles(tmp_path / "bwd_%04d.flo")
    write_flo(tmp_path / "bwd_0001.flo", np.zeros((*SIZE[::-1], 2), np.float32))
    assert "--flow-first 2" in find_wrong_option(wrong, dict(enumerate(shifted)))
    assert find_wrong_option(FlowFiles(tmp_path / "bwd_%04d.flo", first=2), dict(enumerate(shifted))) is None


def test_the_other_direction_is_told_whatever_its_numbers_are(frames, tmp_path):
    moved = [np.roll(frames[0], 6 * number * number, 1) for number in range(5)]  # faster from frame to frame
    for number in range(4):
        flow = np.full((*SIZE[::-1], 2), (6 * (2 * number + 1), 0), np.float32)
        write_flo(tmp_path / f"fwd_{number:04d}.flo", flow)  # to the next frame
        write_flo(tmp_path / f"back_{number:04d}.flo", -flow)  # from frame number + 1 to the one before
    found = find_wrong_option(FlowFiles(tmp_path / "fwd_%04d.flo", first=0), dict(enumerate(moved)))
    assert "as --flow-forward-from with --flow-first 1;" in f"{found};"
    assert find_wrong_option(FlowFiles(None, tmp_path / "fwd_%04d.flo"), dict(enumerate(moved))) is None
    found = find_wrong_option(FlowFiles(None, tmp_path / "back_%04d.flo"), dict(enumerate(moved)))
    assert "as --flow-from with --flow-first 0;" in f"{found};"
    with pytest.raises(FavError, match="if they lead to the frame after, give them as --flow-forward-from"):
        check(FlowFiles(tmp_path / "fwd_%04d.flo"), range(0, 5), (), (SIZE,))
    with pytest.raises(FavError, match="2 are missing") as error:
        check(FlowFiles(tmp_path / "fwd_%04d.flo", first=2), range(0, 5), (), (SIZE,))
    assert "give them as" not in str(error.value)


@pytest.mark.parametrize("part", [4, 20])
def test_reliability_that_is_inverted_is_told(exported, frames, part):
    import cv2

    by_number = dict(enumerate(frames))
    for number in range(1, 5):
        file = exported.file(exported.backward, number)
        flow, (height, width) = read_flow(file)[0], SIZE[::-1]
        flow[: height // part] += 9  # wrong, and marked as hidden
        write_flo(file, flow)
        hidden = np.zeros((height, width), np.uint8)
        hidden[: height // part] = 255
        cv2.imwrite(str(exported.file(exported.reliability, number)), hidden)
    white = replace(exported, forward=None)
    assert "seem to be inverted; use --invert-reliability" in find_wrong_option(white, by_number)
    assert find_wrong_option(replace(white, inverted=True), by_number) is None
    for number in range(1, 5):
        file = exported.file(exported.reliability, number)
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    assert find_wrong_option(white, by_number) is None
    assert "omit --invert-reliability" in find_wrong_option(replace(white, inverted=True), by_number)


def test_names_of_methods_are_known_without_opencv():
    code = "import sys; from fav.pipeline.spec import OPTIONS; print('dis' in OPTIONS['flow'].allowed_values, 'cv2' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert run.stdout.split() == ["True", "False", "False"]
