"""Read flow and reliability from files of the user: flow of another program, ground truth, motion vectors of a renderer.

The number of a file is that of the frame where its flow starts. So backward flow t leads from frame t to t-1, and forward
flow t from frame t to t+1. Reliability t belongs to backward flow t. Frames are counted from 0. `first` is the number of the file
of frame 1, for programs that count differently.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow.consistency import inside_image
from fav.flow.consistency import reliability as reliability_of
from fav.flow.field import FlowField
from fav.flow.io import quantized, read_flo
from fav.flow.warp import warp
from fav.util.image_sequence import is_sequence, sequence_numbers
from fav.util.reading import read_file

SUFFIXES = (".flo", ".png", ".exr", ".npy")
RELIABILITY_SUFFIXES = (".pgm", ".png")
MAX_BYTES = 1 << 31  # of a file
UNKNOWN = 1e9  # pixels; in a .flo file, longer flow means unknown
KITTI_ZERO, KITTI_STEPS = 1 << 15, 64  # the value of zero flow, and steps per pixel
RELIABLE = 128  # minimum value of a reliable pixel, of 255


class FlowFileOptions(Protocol):
    """The options of a film for files of flow and reliability."""

    @property
    def flow_from(self) -> Path | None: ...
    @property
    def flow_forward_from(self) -> Path | None: ...
    @property
    def reliability_from(self) -> Path | None: ...
    @property
    def flow_first(self) -> int: ...
    @property
    def flow_y_up(self) -> bool: ...
    @property
    def invert_reliability(self) -> bool: ...


@dataclass(frozen=True)
class FlowFiles:
    """The files of flow and reliability.

    Attributes:
        backward: Pattern of the backward flow, such as `dir/bwd_%04d.flo`; None if not given.
        forward: Pattern of the forward flow.
        reliability: Pattern of the reliability.
        first: The number of the file of frame 1.
        y_up: Whether y points upwards in the files.
        inverted: Whether white pixels of the reliability are unreliable.
    """

    backward: Path | None = None
    forward: Path | None = None
    reliability: Path | None = None
    first: int = 1
    y_up: bool = False
    inverted: bool = False

    @classmethod
    def of(cls, options: "FlowFileOptions") -> "FlowFiles":
        """Return the files of a film's options."""
        return cls(
            options.flow_from,
            options.flow_forward_from,
            options.reliability_from,
            options.flow_first,
            options.flow_y_up,
            options.invert_reliability,
        )

    def __bool__(self) -> bool:
        return bool(self.backward or self.forward)

    def is_complete(self, reverse: bool) -> bool:
        """Whether no flow must be computed. `reverse`: the film is stylized from its end."""
        return bool(self.forward and self.backward or self.backward and self.reliability and not reverse)

    def file(self, pattern: Path, frame: int) -> Path:
        """Return the path of the file of a frame."""
        return pattern.parent / (pattern.name % (frame + self.first - 1))

    def flow(self, start: int, end: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Read the flow from frame `start` to its neighbor `end`, resized to `size` (width, height).

        Returns:
            The flow (H, W, 2) float32, and a mask (H, W) that is True where it is known. None if no such files are given.
        """
        pattern = {start - 1: self.backward, start + 1: self.forward}.get(end)
        if pattern is None:
            return None
        flow, known = read_flow(self.file(pattern, start))
        if self.y_up:
            flow[..., 1] *= -1
        return resize_flow(flow, size), _resize_mask(known, size)

    def reliable_mask(self, start: int, end: int, size: tuple[int, int]) -> np.ndarray | None:
        """Read where the flow from frame `start` to `end` is reliable: (H, W) bool, at `size`; None without a file."""
        if self.reliability is None or end != start - 1:
            return None
        file = self.file(self.reliability, start)
        mask = _decode(file, cv2.IMREAD_GRAYSCALE)
        return _resize_mask((mask >= RELIABLE) != self.inverted, size)


def estimate_with_files(
    files: FlowFiles,
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray],
    numbers: tuple[int, int],
    frames: tuple[np.ndarray, np.ndarray],
    min_filter: int = 7,
    report_progress: Callable[[], None] = lambda: None,
) -> FlowField:
    """Like `fav.flow.field.estimate`, but use the files where they are given.

    Unknown flow of a file is unreliable. If the reliability is given, the other direction is not needed.

    Args:
        files: The files.
        compute: Computes the flow from one frame to another, if it is not given.
        numbers: The numbers of the two frames.
        frames: The frames, (H, W, 3) uint8. The flow leads from the first to the second.
        min_filter: As in `fav.flow.consistency.reliability`.
        report_progress: Called between the two directions.
    """
    (frame, other), size = frames, frames[0].shape[1::-1]
    given = files.flow(*numbers, size)
    forth = quantized(given[0] if given else compute(frame, other))
    reliable = files.reliable_mask(*numbers, size) if given else None
    if reliable is None:
        report_progress()
        given_back = files.flow(numbers[1], numbers[0], size)
        back = quantized(given_back[0] if given_back else compute(other, frame))
        reliable = reliability_of(forth, back, frame, min_filter=1) == 1
    known = reliable & inside_image(forth) & (given[1] if given else True)
    return FlowField(forth, cv2.erode(known.astype(np.uint8), np.ones((min_filter, min_filter), np.uint8)))


def read_flow(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a flow file.

    Formats: Middlebury's .flo, KITTI's 16-bit .png, .exr with x in red and y in green, or a .npy array (H, W, 2) or
    (2, H, W).

    Returns:
        Flow (H, W, 2) float32 in pixels, and a mask (H, W) bool that is True where it is known. Unknown flow is 0.

    Raises:
        FavError: The file is of another format, or cannot be read.
    """
    match file.suffix.lower():
        case ".flo":
            flow = read_flo(file)
            known = np.all(np.abs(flow) < UNKNOWN, axis=-1)
        case ".png":
            image = _decode(file, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if image.dtype != np.uint16 or image.ndim != 3:
                raise FavError(f"flow {file}: expected KITTI's PNG with 16 bits and 3 channels, got {image.dtype}")
            known, y, x = cv2.split(image)
            flow, known = (cv2.merge([x, y]).astype(np.float32) - KITTI_ZERO) / np.float32(KITTI_STEPS), known > 0
        case ".npy" | ".exr":
            flow = _read_npy(file) if file.suffix.lower() == ".npy" else _read_exr(file)
            known = np.all(np.abs(flow) < UNKNOWN, axis=-1)
        case _:
            raise FavError(
                f"flow {file}: expected a name that ends in {', '.join(SUFFIXES)}; convert it to one of these"
            )
    known &= np.all(np.isfinite(flow), axis=-1)
    flow[~known] = 0
    return flow, known


def resize_flow(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `flow` (H, W, 2) to `size` (width, height), and scale its vectors."""
    height, width = flow.shape[:2]
    if (width, height) == size:
        return flow
    return cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR) * np.array(
        [size[0] / width, size[1] / height], np.float32
    )


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask. A pixel of the result is True if all source pixels with a weight are."""
    if mask.shape[1::-1] == size:
        return mask
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.999


def _read_npy(file: Path) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise FavError(f"flow {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise FavError(f"flow {file}: expected an array of numbers, got a file that does not read as one") from error
    if isinstance(array, np.ndarray) and array.ndim == 3 and array.shape[2] != 2 and array.shape[0] == 2:
        array = array.transpose(1, 2, 0)
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.shape[2] != 2 or array.dtype.kind not in "fiu":
        got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "several arrays"
        raise FavError(f"flow {file}: expected an array (H, W, 2) or (2, H, W) of numbers, got {got}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _read_exr(file: Path) -> np.ndarray:
    """Return red and green of an OpenEXR image. FFmpeg decodes it, because OpenCV's packages do not support the format."""
    import av
    from av.error import FFmpegError

    try:
        data = read_file(file, str(file), MAX_BYTES)
        with av.open(io.BytesIO(data), "r", format="exr_pipe") as container:
            frame = next(container.decode(video=0))
    except FFmpegError as error:
        raise FavError(
            f"flow {file}: expected OpenEXR with channels R and G, got a file that FFmpeg cannot decode ({error.strerror})"
        ) from error
    except (StopIteration, IndexError) as error:
        raise FavError(f"flow {file}: expected an OpenEXR image, got none") from error
    except OSError as error:
        raise FavError(f"{file}: {error.strerror}") from error
    if "rgb" not in frame.format.name and "gbr" not in frame.format.name or "f32" not in frame.format.name:
        raise FavError(f"flow {file}: expected OpenEXR with floating-point channels R and G, got {frame.format.name}")
    green, _, red = (
        np.frombuffer(memoryview(plane), np.float32).reshape(plane.height, -1)[:, : frame.width]
        for plane in list(frame.planes)[:3]
    )
    return cv2.merge([red, green])


def _decode(file: Path, flags: int) -> np.ndarray:
    """Decode an image with flags of OpenCV. Raises FavError if that fails."""
    try:
        data = read_file(file, str(file), MAX_BYTES)
    except OSError as error:
        raise FavError(f"{file}: {error.strerror}") from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise FavError(f"{file}: expected an image, got a file that does not decode as one")
    return image


# ---- checks before a job starts


def check(files: FlowFiles, frames: range, cuts: Iterable[int], sizes: tuple[tuple[int, int], ...]) -> None:
    """Raise FavError unless all files exist and have the right size. Only the first, middle and last file are read.

    Args:
        files: The files.
        frames: The frames of the film.
        cuts: The first frames of shots. No flow across cuts is needed.
        sizes: The allowed (width, height); the first is the video's.
    """
    patterns = {
        "--flow-from": files.backward,
        "--flow-forward-from": files.forward,
        "--reliability-from": files.reliability,
    }
    for option, pattern in patterns.items():
        if pattern is None:
            continue
        suffixes = RELIABILITY_SUFFIXES if option == "--reliability-from" else SUFFIXES
        if not is_sequence(str(pattern)):
            raise FavError(f"{option} {pattern}: expected numbered files, like 'flow/bwd_%04d{suffixes[0]}'")
        if pattern.suffix.lower() not in suffixes:
            raise FavError(f"{option} {pattern}: expected names that end in {', '.join(suffixes)}; convert the files")
        numbers = set(sequence_numbers(str(pattern)))
        if not numbers:
            raise FavError(f"{option} {pattern}: expected numbered files, got none of that name")
        step = 1 if option == "--flow-forward-from" else -1
        first_frames = set(cuts)
        wanted = [
            frame for frame in (frames[:-1] if step > 0 else frames[1:]) if max(frame, frame + step) not in first_frames
        ]
        missing = [frame for frame in wanted if frame + files.first - 1 not in numbers]
        if missing:
            file = files.file(pattern, missing[0])
            other = {"--flow-from": "--flow-forward-from", "--flow-forward-from": "--flow-from"}.get(option)
            turned = [frame + files.first - 1 for frame in (frames[1:] if step > 0 else frames[:-1])]
            hint = f"if they lead to the frame {'before' if step > 0 else 'after'}, give them as {other}; "
            raise FavError(
                f"{option} {pattern}: expected a file for each of {len(wanted)} frames, {len(missing)} are missing; the first is "
                f"{file.name}, from frame {missing[0]} to frame {missing[0] + step}, counted from 0; existing numbers are "
                f"{min(numbers)} to {max(numbers)}; {hint if other and numbers.issuperset(turned) else ''}"
                f"if the numbers are shifted, give the number of frame 1 with --flow-first; "
                f"if a shot begins there, give the cuts with --read-cuts"
            )
        for frame in {wanted[0], wanted[len(wanted) // 2], wanted[-1]} if wanted else ():
            file = files.file(pattern, frame)
            shape = (
                _decode(file, cv2.IMREAD_GRAYSCALE) if suffixes is RELIABILITY_SUFFIXES else read_flow(file)[0]
            ).shape
            if shape[1::-1] not in sizes:
                names = " or ".join(f"{width}x{height}" for width, height in dict.fromkeys(sizes))
                raise FavError(f"{option} {file}: expected the size of the video, {names}, got {shape[1]}x{shape[0]}")


BETTER = 0.7  # another interpretation must have at most this fraction of the error
MOVING = 4  # gray levels; only pixels that differ more from the neighboring frame are compared
NEARLY_NONE = 0.1  # of a frame's pixels; so few reliable pixels make a film that flickers
MIN_FRACTION = 0.001  # of a frame's pixels; fewer moving pixels are not compared


def find_wrong_option(files: FlowFiles, frames: dict[int, np.ndarray]) -> str | None:
    """Detect wrong options for the files.

    Each frame is compared with its neighbor, warped by the flow in several interpretations: as given, as flow to the other
    neighbor, with y inverted, and with the number of the file before or after. Reliable pixels are compared with the others.

    Args:
        files: The files.
        frames: (H, W, 3) uint8 by number, with the neighbors of each compared frame.

    Returns:
        A message with advice, if another interpretation has a clearly smaller error; None otherwise, or without motion.
    """
    cures = {
        "reversed": "they seem to have the opposite direction; give them as {other}",
        "y": "their y seems to point {way}; {flag} --flow-y-up",
        "before": "each seems to belong to the frame before; use --flow-first {less}",
        "after": "each seems to belong to the frame after; use --flow-first {more}",
        "reversed before": "they seem to have the opposite direction; give them as {other} with --flow-first {less}",
        "reversed after": "they seem to have the opposite direction; give them as {other} with --flow-first {more}",
    }
    for option, step, pattern in (("--flow-from", -1, files.backward), ("--flow-forward-from", 1, files.forward)):
        if pattern is None:
            continue
        errors: dict[str, list[float]] = {}
        for number, frame in frames.items():
            interpretations = {"given": (number, step, 1), "reversed": (number, -step, 1), "y": (number, step, -1)}
            for name, file in (("before", number + 1), ("after", number - 1)):
                interpretations |= {name: (file, step, 1), f"reversed {name}": (file, -step, 1)}
            for name, (file, offset, y) in interpretations.items():
                if number + offset not in frames or not files.file(pattern, file).exists():
                    continue
                if given := files.flow(file, file + step, frame.shape[1::-1]):
                    flow, known = given
                    error = _warping_error(frame, frames[number + offset], flow * np.array([1, y], np.float32), known)
                    if error is not None:
                        errors.setdefault(name, []).append(error)
        if "given" not in errors:
            continue
        means = {name: np.mean(values) for name, values in errors.items() if 2 * len(values) >= len(errors["given"])}
        best = min(means, key=lambda name: means[name])
        if means[best] < BETTER * means["given"]:
            cure = cures[best].format(
                other="--flow-forward-from" if step < 0 else "--flow-from",
                way="downwards" if files.y_up else "upwards",
                flag="omit" if files.y_up else "use",
                less=files.first + 1,
                more=files.first - 1,
            )
            return (
                f"{option} {pattern}: expected flow that fits the frames, got a difference of {means['given']:.1f} gray "
                f"levels, and {means[best]:.1f} in another interpretation: {cure}"
            )
    return _find_inverted(files, frames)


def _find_inverted(files: FlowFiles, frames: dict[int, np.ndarray]) -> str | None:
    """Detect reliability that seems to be inverted.

    Less than half is reliable, and the rest fits the flow clearly better. Or nearly nothing is reliable, although flow makes
    the rest fit clearly better.
    """
    errors: dict[str, list[float]] = {"reliable": [], "rest": [], "rest without flow": []}
    shares = []
    for number, frame in frames.items():
        size = frame.shape[1::-1]
        if number - 1 not in frames or files.reliability is None or not files.file(files.reliability, number).exists():
            continue
        given, mask = files.flow(number, number - 1, size), files.reliable_mask(number, number - 1, size)
        if given is None or mask is None:
            continue
        shares.append(mask.mean())
        flow, known = given
        for name, vectors, pixels in (
            ("reliable", flow, mask), ("rest", flow, ~mask), ("rest without flow", np.zeros_like(flow), ~mask)
        ):  # fmt: skip
            error = _warping_error(frame, frames[number - 1], vectors, known & pixels)
            if error is not None:
                errors[name].append(error)
    means = {name: float(np.mean(values)) for name, values in errors.items() if values}
    if "rest" not in means or np.mean(shares) >= 0.5:
        return None
    other = "reliable" if np.mean(shares) >= NEARLY_NONE else "rest without flow"
    if other not in means or means["rest"] >= BETTER * means[other]:
        return None
    return (
        f"--reliability-from {files.reliability}: expected reliable pixels to be those that the flow fits, got "
        f"{100 * np.mean(shares):.0f} % of reliable pixels, and flow that fits the others: they seem to be inverted; "
        f"{'omit' if files.inverted else 'use'} --invert-reliability"
    )


def _warping_error(frame: np.ndarray, neighbor: np.ndarray, flow: np.ndarray, known: np.ndarray) -> float | None:
    """Return the mean difference of a frame and its warped neighbor, in gray levels. None if too few pixels move."""
    moving = np.abs(neighbor.astype(np.int16) - frame).mean(-1) > MOVING
    known = known & inside_image(flow) & moving
    if known.mean() < MIN_FRACTION:
        return None
    return float(np.abs(warp(neighbor, flow).astype(np.int16) - frame).mean(-1)[known].mean())
