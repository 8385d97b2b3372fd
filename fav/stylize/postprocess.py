"""Postprocessing of stylized frames for the film: size, colors, mask, strength.

It is applied when the film is encoded, and is not part of the published frames. So it can be changed without
stylizing again, and the recurrence never uses a blended frame.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.stylize.blend import blend, luma, style_weight, to_uint16, transfer_chroma
from fav.stylize.settings import PostprocessSettings
from fav.util.image_sequence import is_sequence
from fav.util.images import read_image, resize
from fav.video import AS_IT_IS, FrameIndex, FrameReader, SourceSettings, decode, probe


def postprocess(
    frames: Iterable[np.ndarray],
    finish: PostprocessSettings,
    video: Path | str,
    index: FrameIndex,
    start: int = 0,
    settings: SourceSettings = AS_IT_IS,
    masks: Iterator[np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """Apply the postprocessing to stylized frames.

    Args:
        frames: (H, W, 3) uint8 BGR, all of one size.
        finish: what to apply.
        video: the source, which is decoded only if needed.
        index: of the source.
        start: number of the first frame.
        settings: how to read the source.
        masks: of the frames, where the caller has them already.

    Yields:
        (H, W, 3) uint8, or uint16 with `finish.sixteen_bit`, where 65535 is white.

    Raises:
        FavError: the mask ends before the frames do.
    """
    if not finish.needs_source:
        for frame in frames:
            yield resize(to_uint16(frame) if finish.sixteen_bit else frame, finish.size)
        return
    if finish.mask and masks is None:
        masks = mask_frames(finish.mask, finish.size, start, finish.sixteen_bit)
    with FrameReader(video, size=finish.size, settings=settings, sixteen_bit=finish.sixteen_bit) as reader:
        for number, frame in enumerate(frames, start):
            weight = style_weight(finish.strength, next(masks) if masks else None)
            source = reader.read(number, index)
            stylized = resize(to_uint16(frame) if finish.sixteen_bit else frame, finish.size)
            yield blend(source, transfer_chroma(stylized, source) if finish.preserve_colors else stylized, weight)


def mask_frames(mask: Path, size: tuple[int, int], start: int = 0, sixteen_bit: bool = False) -> Iterator[np.ndarray]:
    """Yield the mask (H, W) uint8 of each source frame from `start` on, at `size`; 255 is full style.

    With `sixteen_bit`, it is uint16, and 65535 is full style. An image is the mask of every frame, so the iterator has no end.
    Raises FavError if a video has no more frames.
    """
    if _is_picture(mask):
        picture = read_image(mask, sixteen_bit)
        picture = resize(luma(to_uint16(picture) if sixteen_bit else picture), size)
        while True:
            yield picture
    number = -1
    with decode(mask) as decoding:
        for decoded in decoding:
            number = decoded.number
            if number >= start:
                yield resize(luma(decoded.image(sixteen_bit)), size)
    raise FavError(
        f"mask {mask}: expected a picture for frame {max(number + 1, start)}, got only {number + 1} frames; "
        f"make the film again with a whole mask: `stitch SHARED JOB --mask MASK`"
    )


def check_mask(mask: Path, video: Path | str, settings: SourceSettings = AS_IT_IS) -> None:
    """Raise FavError unless `mask` is an image, or a video or image sequence with as many frames as `video`.

    If the containers do not report equal numbers, both are decoded to count the frames.
    """
    if not (mask.is_file() or is_sequence(str(mask))):
        raise FavError(
            f"--mask {mask}: expected a picture, a video or numbered images (dir/mask_%04d.png), "
            f"got {'something else' if mask.exists() else 'no such file'}"
        )
    if _is_picture(mask):
        read_image(mask)
        return
    try:
        there = probe(mask)
        source = probe(video, settings)
        if there.frames is not None and there.frames == source.frames:
            return
        got, expected = _count(mask), _count(video, settings)
    except FavError as error:
        raise FavError(f"--mask: {error}") from error
    if got != expected:
        raise FavError(
            f"--mask {mask}: expected one picture, or {expected} frames like {video}, got {got} frames; "
            f"make one mask for each frame, also with --range"
        )


def _is_picture(mask: Path) -> bool:
    """Whether OpenCV recognizes an image by its first bytes; other files are read by FFmpeg."""
    if is_sequence(str(mask)):
        return False
    with open(mask, "rb") as file:
        return cv2.haveImageReader(f"/dev/fd/{file.fileno()}")  # a name that is not UTF-8 crashes OpenCV


def _count(video: Path | str, settings: SourceSettings = AS_IT_IS) -> int:
    with decode(video, settings) as decoding:
        return sum(1 for _ in decoding)
