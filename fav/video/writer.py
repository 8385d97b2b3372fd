"""Write frames into a film with the source's times, sound, subtitles, chapters, pixel aspect and color tags.

There are two steps. `fav.video.encoder.encode_segment` encodes each segment of frames independently, on any node.
`fav.video.muxer.mux_film` puts the packets of all segments into a container, together with the other streams of the
source. `write_film` does both. `check_film` tries both before any frame is stylized.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from fav.errors import FavError, sanitize
from fav.util.image_sequence import OUTPUTS, check_pattern, is_image_output
from fav.video.codecs import CONTAINERS, EncoderSettings, check_container, encoder_settings, trial_settings
from fav.video.decoding import Decoder
from fav.video.encoded import EncodedSegment
from fav.video.encoder import check_encoder, encode_segment, require_count
from fav.video.ffmpeg_log import ffmpeg_errors
from fav.video.image_output import image_bytes, image_notes
from fav.video.index import FrameIndex
from fav.video.muxer import mux_film
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

MAX_TRIAL_BYTES = 2 << 30  # bytes of a file that a trial reads
MAX_TRIAL_IMAGES = 100  # images of a numbered sequence that a trial reads; their times are regular


def check_film_name(name: Path | str, codec: str | None = None) -> None:
    """Check the name of a film or of numbered images.

    Args:
        name: of the film, or a pattern such as `dir/frame_%06d.png`.
        codec: the container that follows from the name must support it; None: any.

    Raises:
        FavError: the name's suffix is unknown, or does not fit the codec.
    """
    if is_image_output(str(name)):
        check_pattern(name)
        return
    suffix = Path(name).suffix
    if suffix.lower() not in CONTAINERS:
        animation = (
            f"; the command preview makes a small {suffix.lower()}" if suffix.lower() in (".gif", ".webp") else ""
        )
        raise FavError(
            f"{name}: expected the name of a film that ends in {', '.join(CONTAINERS)}, or numbered images such as "
            f"'dir/frame_%06d.png' ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}{animation}"
        )
    if codec is not None:
        check_container(codec, name)


def write_film(
    out: Path,
    video: Path | str,
    index: FrameIndex,
    frames: Iterable[np.ndarray],
    *,
    start: int = 0,
    stop: int | None = None,
    encoder: EncoderSettings | None = None,
    settings: SourceSettings = DEFAULT_SETTINGS,
    name: Path | None = None,
    comment: str | None = None,
    made_by: str | None = None,
    segments: Sequence[range] | None = None,
    crf: int = 18,
) -> list[str]:
    """Encode frames and write them into a film, with the other streams of the source.

    A film of the whole source (`start` 0, `stop` None) has its times and all its sound. Times of MPEG streams may start
    anywhere; they are counted from the first one. A film of a part begins at time 0 and has the sound packets of this
    part. Matroska rounds times to milliseconds. An untagged color matrix is tagged with the one that is used. Software
    encoders give the same bytes for the same input.

    Args:
        out: the file to write. For numbered images, an existing directory, or the path of a tar archive.
        video: the source.
        index: of the source; complete if `stop` is None.
        frames: (H, W, 3) BGR, uint8 or uint16, where 65535 is white. All have one size, which may differ from the
            source's. If the pixel format needs an even height or width, the last row or column is repeated.
        start: number of the first frame in the source.
        stop: one past the number of the last frame; None: to the source's end.
        encoder: None: H.264 in yuv420p.
        settings: how to read the source.
        name: of the film, whose suffix decides the container; None: `out`.
        comment: replaces the source's comment.
        segments: consecutive ranges of frames that are encoded independently; None: all frames are one segment.
        crf: quality of the default encoder.
        made_by: how the film is made; it follows the source's comment.

    Returns:
        Notes for the user.

    Raises:
        FavError: the name does not fit, or the number of frames differs from the expected one.
        OSError: the file cannot be written.
    """
    name, encoder = name or out, encoder or encoder_settings(crf=crf)
    check_film_name(name, encoder.name)
    end = len(index) if stop is None else stop
    images = require_count(frames, end - start, name)
    first = next(images, None)
    if first is None:
        raise FavError(f"{name}: expected frames, got none")
    images = chain([first], images)

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        encoded = encode_segment(islice(images, len(segment)), segment, video, index, encoder, settings, name)
        if segment.stop == end:
            next(images, None)  # raises FavError if there are too many frames
        return encoded

    return mux_film(
        out,
        video,
        index,
        encode,
        segments=[range(start, end)] if segments is None else segments,
        shape=first.shape[:2],
        to_end=stop is None,
        encoder=encoder,
        settings=settings,
        name=name,
        comment=comment,
        made_by=made_by,
    )


def check_film(
    video: Path | str,
    name: Path | str,
    *,
    start: int = 0,
    stop: int | None = None,
    settings: SourceSettings = DEFAULT_SETTINGS,
    encoder: EncoderSettings | None = None,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """Check that a film of a video can be written, before any frame is stylized.

    A trial film is written to the null device, with small gray frames, and all sound, subtitles and times of the video.
    Only the first frame of the video is decoded, and the first seconds of sound that must be re-encoded. At most
    MAX_TRIAL_BYTES of a file are read. An hour of video takes some seconds.

    Args:
        video: the source.
        name: of the film, whose suffix decides the container.
        start: number of the first frame.
        stop: one past the number of the last frame; None: to the end.
        settings: how to read the video.
        encoder: of the film; None: H.264.
        size: (width, height) of frames that the encoder must support; None: it is not checked.

    Returns:
        The notes that `write_film` would return.

    Raises:
        FavError: the film cannot be written.
    """
    encoder = encoder or encoder_settings()
    check_film_name(name, encoder.name)
    if encoder.is_images:
        if size is not None:
            image_bytes(np.zeros((size[1], size[0], 3), np.uint16 if encoder.bits > 8 else np.uint8), encoder)
        return image_notes(video, settings)
    if size is not None:
        check_encoder(encoder, name, size)
    trial = trial_settings(encoder.name)
    with Decoder(video, settings) as decoding:
        index, complete = decoding.times(MAX_TRIAL_IMAGES, MAX_TRIAL_BYTES)
    start = min(start, max(len(index) - 1, 0))
    stop = stop if stop is not None and start < stop <= len(index) else None if complete else len(index)
    if not len(index):
        raise FavError(f"{video}: expected frames, got none")
    image = np.full((16, 16, 3), 128, np.uint8)
    messages: list[tuple[int, str, str]] = []

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        return encode_segment(repeat(image, len(segment)), segment, video, index, trial, settings, name)

    try:
        with ffmpeg_errors() as messages:
            return mux_film(
                os.devnull,
                video,
                index,
                encode,
                segments=[range(start, len(index) if stop is None else stop)],
                shape=image.shape[:2],
                to_end=stop is None,
                encoder=trial,
                settings=settings,
                name=name,
                trial=True,
            )
    except FFmpegError as error:
        why = "; ".join(dict.fromkeys(line.strip() for _, _, line in messages))
        others = ", ".join(sorted(CONTAINERS.keys() - {Path(name).suffix.lower()}))
        raise FavError(
            f"{video}: expected times, sound and subtitles that {Path(name).suffix} supports, got an error of FFmpeg "
            f"({error.strerror}{': ' if why else ''}{sanitize(why, 300)}); try another container ({others}), or make a "
            f"clean copy of the video first: ffmpeg -i {sanitize(video)} copy.mkv"
        ) from error
