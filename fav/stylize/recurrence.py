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
        first_frame_runner: the network for the first frame of each shot; None: `runner`.
        init_frame: (H, W, 3) uint8 BGR, used as the first stylized frame of the film; None: it is stylized.
        fill: how unreliable pixels are filled, as for `fill_for`.
        key: seed of random fills, as for `fill_for`.
    """

    runner: "StyleRunner"
    first_frame_runner: "StyleRunner | None" = None
    init_frame: np.ndarray | None = None
    fill: str = FILLS[0]
    key: str = ""

    def first(self, frame: np.ndarray, number: int = 0, first_of_film: bool = False) -> np.ndarray:
        """Stylize the first frame of a shot.

        Args:
            frame: (H, W, 3) uint8 BGR.
            number: of the frame.
            first_of_film: whether it is also the first frame of the film.
        """
        if first_of_film and self.init_frame is not None:
            return self.init_frame
        return (self.first_frame_runner or self.runner).stylize(frame, fill=self.fill_of(number, frame))

    def next(self, frame: np.ndarray, prior: np.ndarray, flow_field: FlowField, number: int = 0) -> np.ndarray:
        """Stylize a frame that has a predecessor in its chain.

        Args:
            frame: (H, W, 3) uint8 BGR.
            prior: the stylized frame before it, (H, W, 3) uint8.
            flow_field: flow and reliability from `frame` to the frame before.
            number: of the frame.
        """
        # Warped as float32: one more rounding to gray levels per frame would blur the chain.
        warped = warp(prior.astype(np.float32), flow_field.flow)
        return self.runner.stylize(frame, warped, flow_field.reliability, self.fill_of(number, frame))

    def film(
        self, frames: Iterable[tuple[np.ndarray, FlowField | None]], number: int = 0, step: int = 1
    ) -> Iterator[np.ndarray]:
        """Yield the stylized frames of a film, in order.

        Args:
            frames: pairs of a frame and its flow to the frame before; the flow None begins a shot.
            number: of the first frame.
            step: difference of consecutive frame numbers.
        """
        prior = None
        for frame, flow_field in frames:
            if prior is None or flow_field is None:
                prior = self.first(frame, number, first_of_film=prior is None)
            else:
                prior = self.next(frame, prior, flow_field, number)
            yield prior
            number += step

    def fill_of(self, number: int, frame: np.ndarray) -> np.ndarray | None:
        """The fill of unreliable pixels of a frame (H, W, 3), as for `fill_for`."""
        return fill_for(self.fill, self.key, number, frame.shape)
