"""The recurrence: each frame is painted on from the stylized frame before it, warped to where it belongs now.

Source: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018), section 4.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from fav.flow.field import FlowField
from fav.flow.warp import warp
from fav.model.preprocessing import FILLS, fill_for

if TYPE_CHECKING:
    from fav.model.runner import StyleRunner

def stylize_next(runner: "StyleRunner", frame: np.ndarray, prior: np.ndarray, geometry: FlowField,
                 fill: np.ndarray | None = None) -> np.ndarray:
    """`frame` (H, W, 3) uint8, painted on from `prior`, the stylized frame before it in the chain."""
    # Warped as float32: rounding to grey levels once more, each frame, would blur into the chain.
    return runner.stylize(frame, warp(prior.astype(np.float32), geometry.flow), geometry.reliability, fill)


def stylize_shot(frames: Iterable[tuple[np.ndarray, FlowField | None]], runner: "StyleRunner", *,
                 first: "StyleRunner | None" = None, seed: np.ndarray | None = None, fill: str = FILLS[0],
                 key: str = "", number: int = 0, step: int = 1) -> Iterator[np.ndarray]:
    """The stylized frames of a chain, one for each frame, in its order; each waits for the one before.

    frames are pairs of a frame and how it hangs on the frame before it; None starts anew, with the
    model `first` where that is given. seed, where given, is taken for the first stylized frame.
    fill and key as in fill_for; number counts the first frame, step leads to the next.
    """
    prior = None
    for frame, geometry in frames:
        noise = fill_for(fill, key, number, frame.shape)
        if prior is None and seed is not None:
            prior = seed
        elif prior is None or geometry is None:
            prior = (first or runner).stylize(frame, fill=noise)
        else:
            prior = stylize_next(runner, frame, prior, geometry, noise)
        yield prior
        number += step
