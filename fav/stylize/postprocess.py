"""Postprocess stylized frames for the film: size, colors, mask, strength.

This is done when the film is encoded; published frames are not changed. So these options can be changed without
stylizing again, and the recurrence never uses a blended frame.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.stylize.blend import blend, luma, style_weight, to_uint16, transfer_chroma
from fav.stylize.outside import split
from fav.stylize.settings import PostprocessSettings
from fav.util.image_sequence import is_sequence
from fav.util.images import read_image, resize
from fav.video import DEFAULT_SETTINGS, FrameIndex, FrameReader, SourceSettings, decode, probe


def postprocess(
    frames: Iterable[np.ndarray],
    postprocessing: PostprocessSettings,
    video: Path | str,
    index: FrameIndex,
    start: int = 0,
    settings: SourceSettings = DEFAULT_SETTINGS,
    masks: Iterator[np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Apply the postprocessing to stylized frames.

    Args:
        frames: (H, W, 3) uint8 BGR, all of one size; with `postprocessing.outside`, those of `fav.stylize.outside.stack`.
        postprocessing: what to apply.
        video: the source; it is decoded only if needed.
        index: of the source.
        start: number of the first frame.
        settings: how to read the source.
        masks: of the frames; None: read them from the mask file.

    Yields:
        (H, W, 3) uint8, or uint16 with `postprocessing.sixteen_bit`, where 65535 is white.

    Raises:
        FavError: the mask ends before the frames do.
    """
    if postprocessing.mask and masks is None:
        masks = mask_frames(postprocessing.mask, postprocessing.size, start, postprocessing.sixteen_bit)
    with ExitStack() as opened:
        reader = None
        if postprocessing.needs_source:
            reader = opened.enter_context(
                FrameReader(video, size=postprocessing.size, settings=settings, sixteen_bit=postprocessing.sixteen_bit)
            )
        for number, frame in enumerate(frames, start):
            if reader is None and not postprocessing.outside:
                yield _in_size(frame, postprocessing)
                continue
            mask = next(masks) if masks else None
            source = reader.read(number, index) if reader else None
            yield finish_frame(frame, source, mask, postprocessing, number, index.seconds(number))


def finish_frame(
    frame: np.ndarray,
    source: np.ndarray | None,
    mask: np.ndarray | None,
    postprocessing: PostprocessSettings,
    number: int,
    seconds: float,
) -> np.ndarray:
    """Apply the postprocessing to one stylized frame.

    Args:
        frame: as for `postprocess`.
        source: the frame of the video in the film's size and type; None if `postprocessing.needs_source` is false.
        mask: of the frame; None without a mask.
        postprocessing: what to apply.
        number: of the frame.
        seconds: when it is shown, after the first frame of the video.
    """
    share = postprocessing.mask_strength.at(number, seconds)
    if postprocessing.outside:
        inside, outside = split(frame)
        weight = style_weight(1.0, mask, share)
        stylized, mask = _in_size(inside, postprocessing), None
        if np.ndim(weight):
            stylized = blend(_in_size(outside, postprocessing), stylized, weight)
    else:
        stylized = _in_size(frame, postprocessing)
    if source is None:
        return stylized
    weight = style_weight(postprocessing.strength.at(number, seconds), mask, share)
    return blend(source, transfer_chroma(stylized, source) if postprocessing.preserve_colors else stylized, weight)


def _in_size(frame: np.ndarray, postprocessing: PostprocessSettings) -> np.ndarray:
    """A frame in the size and type of the film."""
    return resize(to_uint16(frame) if postprocessing.sixteen_bit else frame, postprocessing.size)


def mask_frames(mask: Path, size: tuple[int, int], start: int = 0, sixteen_bit: bool = False) -> Iterator[np.ndarray]:
    """Yield the mask of each source frame from `start` on.

    Args:
        mask: an image, video or image sequence. An image is the mask of every frame, so the iterator does not end.
        size: (width, height) of the masks.
        start: number of the first frame.
        sixteen_bit: yield uint16, where 65535 is full style.

    Yields:
        (H, W) uint8, where 255 is full style.

    Raises:
        FavError: a video has no more frames.
    """
    if _is_image(mask):
        image = read_image(mask, sixteen_bit)
        image = resize(luma(to_uint16(image) if sixteen_bit else image), size)
        while True:
            yield image
    number = -1
    with decode(mask) as decoding:
        for decoded in decoding:
            number = decoded.number
            if number >= start:
                yield resize(luma(decoded.image(sixteen_bit)), size)
    raise FavError(
        f"mask {mask}: expected an image for frame {max(number + 1, start)}, got only {number + 1} frames; "
        f"make the film again with a complete mask: `stitch SHARED JOB --mask MASK`"
    )


def check_mask(mask: Path, video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> None:
    """Raise FavError unless `mask` is an image, or a video or image sequence with as many frames as `video`.

    If the containers do not report equal numbers, both are decoded to count the frames.
    """
    if not (mask.is_file() or is_sequence(str(mask))):
        raise FavError(
            f"--mask {mask}: expected an image, a video or numbered images (dir/mask_%04d.png), "
            f"got {'something else' if mask.exists() else 'a path that does not exist'}"
        )
    if _is_image(mask):
        read_image(mask)
        return
    try:
        mask_info = probe(mask)
        source = probe(video, settings)
        if mask_info.frames is not None and mask_info.frames == source.frames:
            return
        got, expected = _count(mask), _count(video, settings)
    except FavError as error:
        raise FavError(f"--mask: {error}") from error
    if got != expected:
        raise FavError(
            f"--mask {mask}: expected one image, or {expected} frames like {video}, got {got} frames; "
            f"make one mask for each frame, also with --range"
        )


def _is_image(mask: Path) -> bool:
    """Whether OpenCV recognizes an image by its first bytes. FFmpeg reads other files."""
    if is_sequence(str(mask)):
        return False
    with open(mask, "rb") as file:
        return cv2.haveImageReader(f"/dev/fd/{file.fileno()}")  # OpenCV crashes if a name is not UTF-8


def _count(video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> int:
    with decode(video, settings) as decoding:
        return sum(1 for _ in decoding)
