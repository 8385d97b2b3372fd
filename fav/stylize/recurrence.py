"""The recurrence: each frame is stylized together with the stylized frame before it, warped by the optical flow.

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
    """Stylizes the frames of a film.

    Attributes:
        runner: the style network.
        opener: the network for the first frame of each shot; None: `runner`.
        init_frame: replaces the first stylized frame of the film.
        fill: as for `fill_for`.
        key: as for `fill_for`.
    """

    runner: "StyleRunner"
    opener: "StyleRunner | None" = None
    init_frame: np.ndarray | None = None
    fill: str = FILLS[0]
    key: str = ""

    def first(self, frame: np.ndarray, number: int = 0, opening: bool = False) -> np.ndarray:
        """Stylize the first `frame` (H, W, 3) uint8 of a shot. `opening`: it is the first one of the film."""
        if opening and self.init_frame is not None:
            return self.init_frame
        return (self.opener or self.runner).stylize(frame, fill=self._fill(number, frame))

    def next(self, frame: np.ndarray, prior: np.ndarray, geometry: FlowField, number: int = 0) -> np.ndarray:
        """Stylize `frame`, given the stylized frame `prior` before it in the chain."""
        # Warped as float32: one more rounding to gray levels per frame would blur the chain.
        warped = warp(prior.astype(np.float32), geometry.flow)
        return self.runner.stylize(frame, warped, geometry.reliability, self._fill(number, frame))

    def film(
        self, frames: Iterable[tuple[np.ndarray, FlowField | None]], number: int = 0, step: int = 1
    ) -> Iterator[np.ndarray]:
        """Yield the stylized frames of a film, in order.

        Args:
            frames: pairs of a frame and its flow to the frame before; None begins a shot.
            number: of the first frame.
            step: from one number to the next.
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
