"""The recurrence: each frame is painted on from the stylized frame before it, warped to where it belongs now.

Source: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018), section 4.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fav.flow.field import FlowField
from fav.flow.warp import warp
from fav.model.preprocessing import FILLS, fill_for

if TYPE_CHECKING:
    from fav.model.runner import StyleRunner


@dataclass(frozen=True, eq=False)
class Recurrence:
    """How a style paints the frames of a film.

    opener: the model that paints the first frame of each shot, `runner` where it is None. seed: taken for the very first
    stylized frame of the film. fill, key: as for `fill_for`.
    """

    runner: "StyleRunner"
    opener: "StyleRunner | None" = None
    init_frame: np.ndarray | None = None
    fill: str = FILLS[0]
    key: str = ""

    def first(self, frame: np.ndarray, number: int = 0, opening: bool = False) -> np.ndarray:
        """The stylized `frame` (H, W, 3) uint8 with this number, which begins a shot; `opening`: the film."""
        if opening and self.init_frame is not None:
            return self.init_frame
        return (self.opener or self.runner).stylize(frame, fill=self._fill(number, frame))

    def next(self, frame: np.ndarray, prior: np.ndarray, geometry: FlowField, number: int = 0) -> np.ndarray:
        """The stylized `frame`, painted on from `prior`, the stylized frame before it in the chain."""
        # Warped as float32: rounding to grey levels once more, each frame, would blur into the chain.
        warped = warp(prior.astype(np.float32), geometry.flow)
        return self.runner.stylize(frame, warped, geometry.reliability, self._fill(number, frame))

    def film(
        self, frames: Iterable[tuple[np.ndarray, FlowField | None]], number: int = 0, step: int = 1
    ) -> Iterator[np.ndarray]:
        """The stylized frames of a film, in its order; each waits for the one before.

        frames are pairs of a frame and how it hangs on the frame before it; None begins a shot. number counts the first
        frame, step leads to the next.
        """
        prior = None
        for frame, geometry in frames:
            if prior is None or geometry is None:
                prior = self.first(frame, number, opening=prior is None)
            else:
                prior = self.next(frame, prior, geometry, number)
            yield prior
            number += step

    def _fill(self, number: int, frame: np.ndarray) -> np.ndarray | None:
        return fill_for(self.fill, self.key, number, frame.shape)
