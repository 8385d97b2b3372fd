"""A note for the user if the styles of a mixture do not fit each other."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from fav.errors import sanitize
from fav.model.interpolation import Mixture
from fav.model.network import StyleNetwork
from fav.model.runner import StyleRunner
from fav.pipeline.over_time import mixtures
from fav.pipeline.request import Request
from fav.synthetic.photographs import photograph
from fav.util.fingerprint import hash_of

# Mean absolute difference in gray levels. With the bundled styles, mixtures that look clean have up to 15, and mixtures with
# false colors and noise have 25 to 43.
FALSE_COLORS = 22.0
SHORT_SIDE = 192  # pixels of the shorter side of the test image


def mixture_notes(request: Request) -> tuple[str, ...]:
    """A note if a mixture of a request produces colors that are far from those of its styles.

    Raises:
        FavError: a style cannot be read, or the architectures differ.
    """
    if not request.mix:
        return ()
    points = [tuple(fraction for _, fraction in mix) for mix in mixtures(request.mix)]
    between = [tuple((a + b) / 2 for a, b in zip(before, after)) for before, after in zip(points, points[1:])]
    others = tuple(style for style, _ in request.mix)
    error = max(mixture_error(request.style, others, fractions) for fractions in (*points, *between))
    if error <= FALSE_COLORS:
        return ()
    names = ", ".join(sanitize(style.stem) for style in (request.style, *others))
    return (
        f"--mix: {names} do not fit each other: expect false colors and noise (the mixture is {error:.0f} gray levels off what "
        f"lies between them; up to {FALSE_COLORS:.0f} looks clean). Styles mix well where one was trained from the other; fav "
        "try with the same --mix shows a frame",
    )


def mixture_error(style: Path, others: Sequence[Path], fractions: Sequence[float]) -> float:
    """The difference between a mixture and the mean of its styles, on one rendered image.

    Args:
        style: the first style. Its fraction is 1 minus those of the others.
        others: the other styles.
        fractions: of the others, from 0 to 1, with a sum of at most 1.

    Returns:
        Mean absolute difference, in gray levels, between the image that the mixed network stylizes and the weighted mean of
        those that each network stylizes.

    Raises:
        FavError: a style cannot be read, or the architectures differ.
    """
    return _mixture_error(tuple((hash_of(path), str(path)) for path in (style, *others)), tuple(fractions))


@lru_cache(32)
def _mixture_error(styles: tuple[tuple[str | None, str], ...], fractions: tuple[float, ...]) -> float:
    mixture, alone = _mixed_and_alone(styles)
    between = sum(fraction * image for fraction, image in zip((1 - sum(fractions), *fractions), alone))
    return float(np.abs(_stylized(mixture.network(fractions)) - between).mean())


@lru_cache(1)
def _mixed_and_alone(styles: tuple[tuple[str | None, str], ...]) -> tuple[Mixture, list[np.ndarray]]:
    """The mixture of styles, given by hash and path, and the test image stylized by each of them."""
    first, *others = (Path(path) for _, path in styles)
    mixture = Mixture(first, others)
    fractions = [[float(here == number) for here in range(len(others))] for number in range(-1, len(others))]
    return mixture, [_stylized(mixture.network(each)) for each in fractions]


def _stylized(network: StyleNetwork) -> np.ndarray:
    """The test image, stylized by one network: (H, W, 3) float64, BGR, 0 to 255."""
    return StyleRunner(network, device="cpu", backend="torch").stylize(_test_image()).astype(np.float64)


@lru_cache(1)
def _test_image() -> np.ndarray:
    picture = photograph(0)
    ratio = SHORT_SIDE / min(picture.shape[:2])
    return cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
