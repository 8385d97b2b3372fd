"""Flow and reliability from files of the user: another program's flow, ground truth, a renderer's motion vectors.

A file has the number of the frame whose pixels it moves. So backward flow number t leads from frame t to t-1, forward flow
number t from frame t to t+1, and reliability number t belongs to backward flow number t. Frames count from 0; `first` is the
number of the file of frame 1, where another program counts otherwise.
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
MASKS = (".pgm", ".png")
LARGEST = 1 << 31  # bytes of a file
UNKNOWN = 1e9  # pixels: in a .flo file, longer flow is not known
KITTI_ZERO, KITTI_STEPS = 1 << 15, 64  # what stands for 0, and steps a pixel
RELIABLE = 128  # of 255, at least


class FlowFileOptions(Protocol):
    """The options of a film that name files of flow and reliability, and say how they are read."""

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
    """Patterns of files like `dir/bwd_%04d.flo`; None if not given.

    `first` is the number of the file of frame 1. `y_up`: y of the files counts upwards. `inverted`: white pixels of the
    reliability are the unreliable ones.
    """

    backward: Path | None = None
    forward: Path | None = None
    reliability: Path | None = None
    first: int = 1
    y_up: bool = False
    inverted: bool = False

    @classmethod
    def of(cls, options: "FlowFileOptions") -> "FlowFiles":
        """The files that options of a film name."""
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

    def whole(self, backward: bool) -> bool:
        """Whether all flow is given. `backward`: the film is stylized from its end."""
        return bool(self.forward and self.backward or self.backward and self.reliability and not backward)

    def file(self, pattern: Path, frame: int) -> Path:
        return pattern.parent / (pattern.name % (frame + self.first - 1))

    def flow(self, start: int, end: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        """Flow (H, W, 2) float32 from frame `start` to its neighbor `end` at `size` (width, height), and a mask (H, W).

        The mask is True where the flow is known. None if no such files are given.
        """
        pattern = {start - 1: self.backward, start + 1: self.forward}.get(end)
        if pattern is None:
            return None
        flow, known = read_flow(self.file(pattern, start))
        if self.y_up:
            flow[..., 1] *= -1
        return at_size(flow, size), _mask_at_size(known, size)

    def trusted(self, start: int, end: int, size: tuple[int, int]) -> np.ndarray | None:
        """Where flow from frame `start` to frame `end` is reliable: (H, W) bool at `size`; None without a file."""
        if self.reliability is None or end != start - 1:
            return None
        file = self.file(self.reliability, start)
        mask = _decoded(file, cv2.IMREAD_GRAYSCALE)
        return _mask_at_size((mask >= RELIABLE) != self.inverted, size)


def between_numbers(
    files: FlowFiles,
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray],
    numbers: tuple[int, int],
    frames: tuple[np.ndarray, np.ndarray],
    min_filter: int = 7,
    report_progress: Callable[[], None] = lambda: None,
) -> FlowField:
    """Like `fav.flow.field.estimate` for two neighboring frames, given by their `numbers`; uses the files if possible.

    If the reliability is given, the other direction is not needed. Unknown flow in a file is not reliable.
    """
    (here, there), size = frames, frames[0].shape[1::-1]
    given = files.flow(*numbers, size)
    onward = quantized(given[0] if given else compute(here, there))
    trusted = files.trusted(*numbers, size) if given else None
    if trusted is None:
        report_progress()
        back = files.flow(numbers[1], numbers[0], size)
        trusted = reliability_of(onward, quantized(back[0] if back else compute(there, here)), here, min_filter=1) == 1
    known = trusted & inside_image(onward) & (given[1] if given else True)
    return FlowField(onward, cv2.erode(known.astype(np.uint8), np.ones((min_filter, min_filter), np.uint8)))


def read_flow(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read flow (H, W, 2) float32 in pixels, and where it is known, (H, W) bool. Unknown flow is 0.

    Formats: Middlebury's .flo, KITTI's 16-bit .png, .exr with x in red and y in green, or a .npy array (H, W, 2) or
    (2, H, W). Raises FavError for other files.
    """
    match file.suffix.lower():
        case ".flo":
            flow = read_flo(file)
            known = np.all(np.abs(flow) < UNKNOWN, axis=-1)
        case ".png":
            picture = _decoded(file, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if picture.dtype != np.uint16 or picture.ndim != 3:
                raise FavError(f"flow {file}: expected KITTI's PNG of 16 bits and 3 colors, got {picture.dtype}")
            known, y, x = cv2.split(picture)
            flow, known = (cv2.merge([x, y]).astype(np.float32) - KITTI_ZERO) / np.float32(KITTI_STEPS), known > 0
        case ".npy" | ".exr":
            flow = _array(file) if file.suffix.lower() == ".npy" else _exr(file)
            known = np.all(np.abs(flow) < UNKNOWN, axis=-1)
        case _:
            raise FavError(
                f"flow {file}: expected a name that ends in {', '.join(SUFFIXES)}; convert it to one of these"
            )
    known &= np.all(np.isfinite(flow), axis=-1)
    flow[~known] = 0
    return flow, known


def at_size(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `flow` (H, W, 2) to `size` (width, height), and scale its vectors."""
    height, width = flow.shape[:2]
    if (width, height) == size:
        return flow
    return cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR) * np.array(
        [size[0] / width, size[1] / height], np.float32
    )


def _mask_at_size(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask; a pixel is True if all pixels below it are."""
    if mask.shape[1::-1] == size:
        return mask
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.999


def _array(file: Path) -> np.ndarray:
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


def _exr(file: Path) -> np.ndarray:
    """Red and green of an OpenEXR image, by FFmpeg: OpenCV's packages do not support it."""
    import av
    from av.error import FFmpegError

    try:
        data = read_file(file, str(file), LARGEST)
        with av.open(io.BytesIO(data), "r", format="exr_pipe") as container:
            frame = next(container.decode(video=0))
    except FFmpegError as error:
        raise FavError(
            f"flow {file}: expected OpenEXR with channels R and G, got what FFmpeg does not decode ({error.strerror})"
        ) from error
    except (StopIteration, IndexError) as error:
        raise FavError(f"flow {file}: expected an OpenEXR picture, got none") from error
    except OSError as error:
        raise FavError(f"{file}: {error.strerror}") from error
    if "rgb" not in frame.format.name and "gbr" not in frame.format.name or "f32" not in frame.format.name:
        raise FavError(
            f"flow {file}: expected OpenEXR with channels R and G as numbers with a point, got {frame.format.name}"
        )
    green, _, red = (
        np.frombuffer(memoryview(plane), np.float32).reshape(plane.height, -1)[:, : frame.width]
        for plane in list(frame.planes)[:3]
    )
    return cv2.merge([red, green])


def _decoded(file: Path, how: int) -> np.ndarray:
    try:
        data = read_file(file, str(file), LARGEST)
    except OSError as error:
        raise FavError(f"{file}: {error.strerror}") from error
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error:
        picture = None
    if picture is None:
        raise FavError(f"{file}: expected a picture, got a file that does not decode as one")
    return picture


# ---- before a job begins


def check(files: FlowFiles, frames: range, cuts: Iterable[int], sizes: tuple[tuple[int, int], ...]) -> None:
    """Raise FavError unless all files for `frames` exist and have one of the `sizes` (width, height).

    The first size is the video's. No files are needed across `cuts`. Only the first, middle and last file are read.
    """
    patterns = {
        "--flow-from": files.backward,
        "--flow-forward-from": files.forward,
        "--reliability-from": files.reliability,
    }
    for option, pattern in patterns.items():
        if pattern is None:
            continue
        suffixes = MASKS if option == "--reliability-from" else SUFFIXES
        if not is_sequence(str(pattern)):
            raise FavError(f"{option} {pattern}: expected numbered files, like 'flow/bwd_%04d{suffixes[0]}'")
        if pattern.suffix.lower() not in suffixes:
            raise FavError(f"{option} {pattern}: expected names that end in {', '.join(suffixes)}; convert the files")
        numbers = set(sequence_numbers(str(pattern)))
        if not numbers:
            raise FavError(f"{option} {pattern}: expected numbered files, got none of that name")
        step = 1 if option == "--flow-forward-from" else -1
        begins = set(cuts)
        wanted = [
            frame for frame in (frames[:-1] if step > 0 else frames[1:]) if max(frame, frame + step) not in begins
        ]
        lacking = [frame for frame in wanted if frame + files.first - 1 not in numbers]
        if lacking:
            file = files.file(pattern, lacking[0])
            raise FavError(
                f"{option} {pattern}: expected a file for each of {len(wanted)} frames, {len(lacking)} are missing; the first is "
                f"{file.name}, of frame {lacking[0]} to frame {lacking[0] + step}, both counted from 0; there are numbers {min(numbers)} to "
                f"{max(numbers)}; where they count otherwise, say with --flow-first which number the file of frame 1 has; where a shot begins, say so "
                f"with --read-cuts"
            )
        for frame in {wanted[0], wanted[len(wanted) // 2], wanted[-1]} if wanted else ():
            file = files.file(pattern, frame)
            shape = (_decoded(file, cv2.IMREAD_GRAYSCALE) if suffixes is MASKS else read_flow(file)[0]).shape
            if shape[1::-1] not in sizes:
                names = " or ".join(f"{width}x{height}" for width, height in dict.fromkeys(sizes))
                raise FavError(f"{option} {file}: expected the size of the video, {names}, got {shape[1]}x{shape[0]}")


CLEARLY = 0.7  # of the error as it is read: another way to read the files is so much better
MOVING = 4  # grey levels between a frame and its neighbour: only there a flow tells anything
FEW = 0.001  # of a frame's pixels: less than these tell nothing


def suspicions(files: FlowFiles, frames: dict[int, np.ndarray]) -> str | None:
    """Detect wrong options for the files: the advice, if another interpretation explains the frames clearly better.

    Compares each frame with its neighbor, warped by the flow in four interpretations: as given; as flow to the other
    neighbor; with y inverted; with the number of a neighboring file. None if the flow as given is about as good as any, or
    nothing moves.

    Args:
        frames: (H, W, 3) uint8 by number, with the neighbors of each compared frame.
    """
    cures = {
        "turned": "they seem to lead the other way; give them as {other}",
        "y": "their y seems to count {way}; {flag} --flow-y-up",
        "before": "each seems to belong to the frame before; say --flow-first {less}",
        "after": "each seems to belong to the frame after; say --flow-first {more}",
    }
    for option, step, pattern in (("--flow-from", -1, files.backward), ("--flow-forward-from", 1, files.forward)):
        if pattern is None:
            continue
        errors: dict[str, list[float]] = {}
        for number, frame in frames.items():
            readings = {"as it is": (number, step, 1), "turned": (number, -step, 1), "y": (number, step, -1)}
            readings |= {"before": (number + 1, step, 1), "after": (number - 1, step, 1)}
            for name, (file, side, y) in readings.items():
                if number + side not in frames or not files.file(pattern, file).exists():
                    continue
                if given := files.flow(file, file + step, frame.shape[1::-1]):
                    flow, known = given
                    error = _unexplained(frame, frames[number + side], flow * np.array([1, y], np.float32), known)
                    if error is not None:
                        errors.setdefault(name, []).append(error)
        if "as it is" not in errors:
            continue
        found = {name: np.mean(values) for name, values in errors.items() if 2 * len(values) >= len(errors["as it is"])}
        best = min(found, key=lambda name: found[name])
        if found[best] < CLEARLY * found["as it is"]:
            cure = cures[best].format(
                other="--flow-forward-from" if step < 0 else "--flow-from",
                way="downwards" if files.y_up else "upwards",
                flag="leave out" if files.y_up else "say",
                less=files.first + 1,
                more=files.first - 1,
            )
            return (
                f"{option} {pattern}: expected flow that explains the frames, got a difference of {found['as it is']:.1f} grey "
                f"levels, and {found[best]:.1f} if read otherwise: {cure}"
            )
    return None


def _unexplained(frame: np.ndarray, neighbour: np.ndarray, flow: np.ndarray, known: np.ndarray) -> float | None:
    """Mean difference in gray levels of `frame` and its warped neighbor, where the two differ; None if nowhere."""
    moving = np.abs(neighbour.astype(np.int16) - frame).mean(-1) > MOVING
    known = known & inside_image(flow) & moving
    if known.mean() < FEW:
        return None
    return float(np.abs(warp(neighbour, flow).astype(np.int16) - frame).mean(-1)[known].mean())
