"""The recurrence on the six faces of a 360° video: each face continues its neighbors, which were stylized before it.

Source: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018), section 5. What the
network gets of a face is, where finished neighbors show it, their stylized picture as a camera of this face sees it. It is
blended with the warped face of the frame before, towards the border of the face. Elsewhere it is that warped face alone.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fav.flow.field import FlowField
from fav.flow.warp import warp
from fav.stylize.cube import FACES, Cube, Strip
from fav.stylize.recurrence import Recurrence
from fav.util.opencv import NO_ARRAY

Ready = Callable[[int], np.ndarray | None]  # returns a stylized face by number, if there is one


@dataclass(frozen=True, eq=False)
class CubeRecurrence:
    """Stylizes atlases of `fav.stylize.cube` as `Recurrence` does frames.

    Attributes:
        plain: stylizes one face; its `init_frame` is an atlas.
        cube: of the frames.
    """

    plain: Recurrence
    cube: Cube

    def first(
        self, frame: np.ndarray, number: int = 0, first_of_film: bool = False, ready: Ready = lambda face: None
    ) -> np.ndarray:
        """Stylize the first frame of a shot.

        Arguments as for `Recurrence.first`; `frame` is an atlas. `ready` returns a face that is stylized already, else None.
        """
        if first_of_film and self.plain.init_frame is not None:
            return self.plain.init_frame
        return self._faces(frame, None, None, number, ready)

    def next(
        self,
        frame: np.ndarray,
        prior: np.ndarray,
        flows: "FaceFlows",
        number: int = 0,
        ready: Ready = lambda face: None,
    ) -> np.ndarray:
        """Stylize a frame that has a predecessor in its chain.

        Arguments as for `Recurrence.next`; `frame` and `prior` are atlases, `ready` is as for `first`.
        """
        return self._faces(frame, prior, flows, number, ready)

    def face(
        self,
        frame: np.ndarray,
        face: int,
        done: Mapping[int, np.ndarray],
        prior: np.ndarray | None = None,
        field: FlowField | None = None,
        number: int = 0,
        first_of_film: bool = False,
    ) -> np.ndarray:
        """Stylize one face.

        Args:
            frame: the atlas of the frame.
            face: its number.
            done: at least the stylized faces of this frame that it continues, by number.
            prior: the stylized face of the frame before; None for the first frame of a shot.
            field: its flow and reliability.
            number: of the frame.
            first_of_film: whether it is the first frame of the film.

        Returns:
            (side, side, 3) uint8.
        """
        cube, given = self.cube, self.plain.init_frame
        if first_of_film and prior is None and given is not None:
            return cube.face(given, face)
        source, fill_number = np.ascontiguousarray(cube.face(frame, face)), number * FACES + face
        strip, before = cube.strip(face), None
        if prior is not None and field is not None:
            before = warp(np.ascontiguousarray(prior).astype(np.float32), field.flow), field.reliability
        if not strip.sources and before is None:
            # Only this face can be of an image model, which takes no prior.
            return self.plain.first(source, fill_number)
        known = combine(strip, done, before)
        return self.plain.runner.stylize(source, *known, self.plain.fill_of(fill_number, source))

    def _faces(
        self,
        frame: np.ndarray,
        prior: np.ndarray | None,
        flow: "FaceFlows | None",
        number: int,
        ready: Ready,
    ) -> np.ndarray:
        cube, done = self.cube, {}
        for face in range(FACES):
            found = ready(face)
            if found is None:
                before = None if prior is None else cube.face(prior, face)
                field = None if flow is None else flow.face(face)
                found = self.face(frame, face, done, before, field, number)
            done[face] = found
        return cube.join([done[face] for face in range(FACES)])


class FaceFlows:
    """The flow fields of all faces between two frames. Each is computed when it is asked for.

    Args:
        cube: of the frames.
        estimate: computes the flow field from one face (side, side, 3) to another.
        frame: an atlas (H, W, 3) uint8.
        other: the atlas to which the flow leads.
        lock: held while `estimate` runs; None: no lock.
    """

    def __init__(
        self,
        cube: Cube,
        estimate: Callable[[np.ndarray, np.ndarray], FlowField],
        frame: np.ndarray,
        other: np.ndarray,
        lock: AbstractContextManager | None = None,
    ):
        self._cube, self._estimate, self._frame, self._other = cube, estimate, frame, other
        self._lock = lock or nullcontext()
        self._fields: dict[int, FlowField] = {}

    def face(self, number: int) -> FlowField:
        """The flow field of one face."""
        with self._lock:
            if number not in self._fields:
                pair = (np.ascontiguousarray(self._cube.face(each, number)) for each in (self._frame, self._other))
                self._fields[number] = self._estimate(*pair)
            return self._fields[number]


def combine(
    strip: Strip, done: Mapping[int, np.ndarray], before: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of a face before it is stylized.

    Args:
        strip: the part that finished faces show, too.
        done: these faces, (side, side, 3) uint8, by number.
        before: the warped face of the frame before, (side, side, 3) float32, and its reliability (side, side), 0 to 1; None
            for the first frame of a shot.

    Returns:
        The prior (side, side, 3) float32, and its reliability (side, side) float32, 0 to 1.
    """
    beside = np.zeros((*strip.outer.shape, 3), np.float32)
    for (face, positions), weight in zip(strip.sources, strip.weights):
        seen = cv2.remap(
            done[face].astype(np.float32), positions, NO_ARRAY, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        beside += weight[..., None] * seen
    inside = strip.inside.astype(np.float32)
    if before is None:
        return beside, inside
    warped, reliability = before
    # Where the flow is unreliable, only the neighbors are known.
    share = np.where(reliability > 0, strip.outer, inside)[..., None]
    return warped + share * (beside - warped), np.maximum(inside, reliability.astype(np.float32))


def cube_recurrence(plain: Recurrence, cube: Cube) -> CubeRecurrence:
    """The recurrence on a cube. The first frame of `plain`, if it has one, is a 360° picture of the cube's size."""
    given = plain.init_frame
    return CubeRecurrence(plain if given is None else replace(plain, init_frame=cube.to_atlas(given)), cube)
