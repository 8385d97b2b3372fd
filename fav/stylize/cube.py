"""Six overlapping cube faces of a 360° picture, and back; pure.

A 360° picture (equirectangular projection) has longitude along x and latitude along y, and twice its height as width. Each
of its faces is a picture of an ordinary camera of a little more than 90 degrees. Faces overlap, as in Ruder, Dosovitskiy
and Brox, "Artistic style transfer for videos and spherical images" (2018), section 5.

Directions are (x, y, z): x to the right, y down, z ahead. All positions are centers of pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.opencv import NO_ARRAY

OVERLAP = (
    0.2  # how far a face reaches beyond its edge, in half edges; the authors' scripts have 0.2, too (768 of 640 pixels)
)
COLUMNS, ROWS = 3, 2  # of faces in an atlas
MULTIPLE = 4  # sides of faces are a multiple of it, because the networks halve their pictures twice
BLOCK = 256  # rows of a picture whose directions are computed at a time
MIN_WIDTH = 64  # pixels of a 360° picture

# By face: the directions of its x and y axes, and the one that it looks at. This is also the order in which faces are
# stylized, the authors': ahead, its two neighbors, the one behind, and those above and below, which touch all four.
AXES = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],  # ahead
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]],  # right
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],  # left
        [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],  # behind
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]],  # above
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],  # below
    ],
    np.float64,
)
FACES = len(AXES)
NEIGHBORS = ((), (0,), (0,), (1, 2), (0, 1, 2, 3), (0, 1, 2, 3))  # by face: those that it continues


@dataclass(frozen=True)
class Strip:
    """The part of a face that its finished neighbors show, too.

    Attributes:
        sources: for each of these neighbors: its face, and the position in it (H, W, 2) float32 of each pixel.
        weights: for each of them, (H, W) float32: 0 where it does not show the pixel; together 1 in the strip.
        inside: (H, W) bool: the strip.
        outer: (H, W) float32: 1 at the border of the face, falling to 0 where the strip ends.
    """

    sources: tuple[tuple[int, np.ndarray], ...]
    weights: tuple[np.ndarray, ...]
    inside: np.ndarray
    outer: np.ndarray


@dataclass(frozen=True)
class Cube:
    """The cube of 360° pictures of `size` (width, height).

    Frames are exchanged as an atlas: one image with the six faces, three in a row.
    """

    size: tuple[int, int]

    @property
    def edge(self) -> int:
        """The edge of a face without its overlap, in pixels. In its center, a face is as sharp as the picture."""
        return 2 * round(self.size[0] / np.pi / 2)

    @property
    def side(self) -> int:
        """The side of a face with its overlap, in pixels."""
        return MULTIPLE * -int(-self.edge * (1 + OVERLAP) // MULTIPLE)

    @property
    def reach(self) -> float:
        """The half side of a face, in half edges: 1 plus the overlap."""
        return self.side / self.edge

    @property
    def atlas_size(self) -> tuple[int, int]:
        """(width, height) of an atlas."""
        return COLUMNS * self.side, ROWS * self.side

    def face(self, atlas: np.ndarray, number: int) -> np.ndarray:
        """One face of an atlas (H, W, ...), a view."""
        row, column = divmod(number, COLUMNS)
        side = self.side
        return atlas[row * side : (row + 1) * side, column * side : (column + 1) * side]

    def join(self, faces: list[np.ndarray]) -> np.ndarray:
        """The atlas of six faces, all (side, side) or (side, side, channels) of one type."""
        rows = (np.concatenate(faces[row * COLUMNS : (row + 1) * COLUMNS], axis=1) for row in range(ROWS))
        return np.concatenate(list(rows))

    def to_atlas(self, picture: np.ndarray) -> np.ndarray:
        """The atlas of a 360° picture (H, W, 3), uint8, of the cube's size. Sampling is bilinear."""
        if picture.shape[1::-1] != self.size:
            raise FavError(f"360° picture: expected {self.size}, got {picture.shape[1::-1]}")
        padded = _pad(picture).astype(np.float32)
        faces = [cv2.remap(padded, positions, NO_ARRAY, cv2.INTER_LINEAR) for positions in _face_positions(self)]
        return _rounded(self.join(faces), picture.dtype)

    def to_picture(self, atlas: np.ndarray) -> np.ndarray:
        """The 360° picture of an atlas (H, W, 3), uint8 or uint16. Overlaps are crossfaded."""
        total = np.zeros((self.size[1], self.size[0], 3), np.float32)
        for number, (box, positions, weight) in enumerate(_picture_positions(self)):
            face = np.ascontiguousarray(self.face(atlas, number)).astype(np.float32)
            sampled = cv2.remap(face, positions, NO_ARRAY, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            total[box] += weight[..., None] * sampled
        return _rounded(total, atlas.dtype)

    def strip(self, number: int) -> Strip:
        """The part of a face that faces with lower numbers show, too."""
        return _strip(self, number)


def cube_of(projection: str, size: tuple[int, int]) -> Cube | None:
    """The cube of frames of a projection and `size` (width, height); None if they are stylized as they are."""
    return Cube(size) if projection == "equirectangular" else None


def stored_size(projection: str, size: tuple[int, int]) -> tuple[int, int]:
    """The size of a published stylized frame: that of an atlas, or `size` (width, height) itself."""
    cube = cube_of(projection, size)
    return size if cube is None else cube.atlas_size


def check_sphere(width: int, height: int) -> None:
    """Raise FavError unless pictures of this size can be a whole sphere: twice as wide as high, and not too small."""
    if abs(width - 2 * height) > 2 or width < MIN_WIDTH:
        stereo = "crop=iw:ih/2:0:0" if width == height else "crop=iw/2:ih:0:0" if width == 4 * height else ""
        cure = f"; if it has two views in each frame, take one: ffmpeg -i VIDEO -vf {stereo} left.mp4" if stereo else ""
        raise FavError(
            f"--projection equirectangular: expected a video twice as wide as high, and at least {MIN_WIDTH} pixels wide, got "
            f"{width}x{height}{cure}"
        )


def _rounded(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.clip(np.rint(image), 0, np.iinfo(dtype).max).astype(dtype)


def _plane(cube: Cube) -> np.ndarray:
    """The coordinates of the centers of pixels along a side of a face, in half edges from its center; float64."""
    return (2 * np.arange(cube.side) + 1 - cube.side) / cube.edge


def _directions(cube: Cube, number: int) -> np.ndarray:
    """The direction (side, side, 3) that each pixel of a face shows; not normalized."""
    x, y = np.meshgrid(_plane(cube), _plane(cube))
    right, down, ahead = AXES[number]
    return x[..., None] * right + y[..., None] * down + ahead


def _in_face(cube: Cube, directions: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a face shows directions (H, W, 3).

    Returns:
        The position in the face's pixels (H, W, 2) float32, and the distance from its center (H, W) in half edges, which is
        infinite behind the camera.
    """
    right, down, ahead = (directions @ axis for axis in AXES[number])
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = right / ahead, down / ahead
    distance = np.where(ahead > 0, np.maximum(np.abs(x), np.abs(y)), np.inf)
    shown = distance <= cube.reach
    pixels = [(np.where(shown, each, 0) * cube.edge + cube.side - 1) / 2 for each in (x, y)]
    return np.dstack(pixels).astype(np.float32), distance


def _pad(picture: np.ndarray) -> np.ndarray:
    """A 360° picture with one more pixel at each side: the other end of the row, or the other side of the pole."""
    half = picture.shape[1] // 2
    tall = np.concatenate([np.roll(picture[:1], half, axis=1), picture, np.roll(picture[-1:], half, axis=1)])
    return np.concatenate([tall[:, -1:], tall, tall[:, :1]], axis=1)


@lru_cache(maxsize=2)
def _face_positions(cube: Cube) -> list[np.ndarray]:
    """For each face, the position (side, side, 2) float32 of each pixel in the padded picture."""
    width, height = cube.size
    found = []
    for number in range(FACES):
        x, y, z = np.moveaxis(_directions(cube, number), -1, 0)
        longitude, latitude = np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))
        across = (longitude / (2 * np.pi) + 0.5) * width + 0.5  # plus one pixel of padding, minus half a pixel
        found.append(np.dstack([across, (latitude / np.pi + 0.5) * height + 0.5]).astype(np.float32))
    return found


@lru_cache(maxsize=2)
def _picture_positions(cube: Cube) -> list[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """For each face: the box of the picture in which it is seen, positions in the face, and weights; these sum up to 1."""
    total, found = np.zeros(cube.size[::-1], np.float32), []
    for number in range(FACES):
        positions, ramp = _seen_in(cube, number)
        rows, columns = (np.flatnonzero(ramp.any(axis=axis)) for axis in (1, 0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        found.append((box, positions[box].copy(), ramp[box].copy()))
        total[box] += ramp[box]
    return [(box, positions, ramp / total[box]) for box, positions, ramp in found]


def _seen_in(cube: Cube, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The position in a face (H, W, 2) of each pixel of the picture, and its `_ramp` (H, W); both float32."""
    width, height = cube.size
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitudes = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    positions, ramps = [], []
    for rows in range(0, height, BLOCK):  # a part at a time, because directions take much memory
        east, latitude = np.meshgrid(longitude, latitudes[rows : rows + BLOCK])
        level = np.cos(latitude)
        place, distance = _in_face(
            cube, np.dstack([level * np.sin(east), np.sin(latitude), level * np.cos(east)]), number
        )
        positions.append(place)
        ramps.append(_ramp(cube, distance).astype(np.float32))
    return np.concatenate(positions), np.concatenate(ramps)


def _ramp(cube: Cube, distance: np.ndarray) -> np.ndarray:
    """The weight of a face before these are divided by their sum: 0 at its border, 1 where no neighbor reaches."""
    inner = 1 / cube.reach
    return np.clip((cube.reach - distance) / (cube.reach - inner), 0, 1)


@lru_cache(maxsize=2 * FACES)
def _strip(cube: Cube, number: int) -> Strip:
    directions, shape = _directions(cube, number), (cube.side, cube.side)
    sources, ramps = [], []
    for neighbor in range(number):
        positions, distance = _in_face(cube, directions, neighbor)
        ramp = _ramp(cube, distance)
        if ramp.any():
            sources.append((neighbor, positions))
            ramps.append(ramp)
    total = np.sum(ramps, axis=0) if ramps else np.zeros(shape)
    inside = total > 0
    weights = tuple((ramp / np.where(inside, total, 1)).astype(np.float32) for ramp in ramps)
    # A neighbor's weight grows from 0, where it ends, to 1, where this face ends.
    outer = np.max(ramps, axis=0).astype(np.float32) if ramps else np.zeros(shape, np.float32)
    return Strip(tuple(sources), weights, inside, outer)
