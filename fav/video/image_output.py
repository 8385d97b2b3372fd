"""Numbered images in the place of a film: PNG, TIFF, OpenEXR; the bytes of one, the names of all, and a tar that has them."""

import tarfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import IO

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_numbers
from fav.util.images import encode_png
from fav.video.codecs import EncoderSettings
from fav.video.color import light_of
from fav.video.container import open_video, video_stream
from fav.video.settings import AS_IT_IS, SourceSettings

KINDS = {"audio": "sound", "subtitle": "subtitles"}
TIFF = [cv2.IMWRITE_TIFF_COMPRESSION, 8]  # deflate


def image_bytes(picture: np.ndarray, encoder: EncoderSettings) -> bytes:
    """The file of an image: (H, W, 3) BGR, uint8 or uint16 of which 65535 is white. OpenEXR has light, of sRGB."""
    if encoder.name == "exr":
        return _exr(picture, encoder)
    if encoder.bits == 8 and picture.dtype != np.uint8 or encoder.bits == 16 and picture.dtype != np.uint16:
        raise ValueError(f"image: expected samples of {encoder.bits} bits, got {picture.dtype}")
    if encoder.name == "png":
        return encode_png(picture)
    return cv2.imencode(".tif", np.ascontiguousarray(picture), TIFF)[1].tobytes()


def _exr(picture: np.ndarray, encoder: EncoderSettings) -> bytes:
    # FFmpeg's encoder takes 32 bits alone, and is told how many it writes.
    frame = light_of(picture, "gbrpf32le")
    codec = av.CodecContext.create(encoder.codec, "w")
    if not isinstance(codec, VideoCodecContext):
        raise TypeError(f"{encoder.codec}: expected an encoder of pictures")
    codec.width, codec.height, codec.pix_fmt, codec.framerate = frame.width, frame.height, "gbrpf32le", Fraction(25)
    codec.options = encoder.options | {"format": "half" if encoder.pixel_format == "gbrpf16le" else "float"}
    codec.thread_count = 1
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def first_number(video: Path | str) -> int:
    """What the image of frame 0 is numbered with: as numbered images of the source are, else 0."""
    return sequence_numbers(str(video))[0] if is_sequence(str(video)) else 0


def image_notes(video: Path | str, settings: SourceSettings = AS_IT_IS) -> list[str]:
    """A note on what of a video cannot go into images."""
    with open_video(video, settings) as given:
        moving = video_stream(given, video)
        kinds = sorted(
            {KINDS.get(stream.type, stream.type) for stream in given.streams if stream.index != moving.index}
        )
        kinds += ["chapters"] if given.chapters() else []
    return [f"images have no times; left out: {', '.join(kinds)}"] if kinds else []


def write_images(out: Path, name: Path | str, images: Iterable[tuple[int, bytes]]) -> None:
    """Write images by their numbers into `out`: a directory, or a new file, which becomes a tar. Bytes follow from the content.

    `name` is their pattern, such as `dir/frame_%06d.png`, of which the directory is left out.
    """
    pattern = Path(name).name
    if out.is_dir():
        for number, data in images:
            (out / (pattern % number)).write_bytes(data)
        return
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, data in images:
            about = tarfile.TarInfo(pattern % number)
            about.size, about.mode = len(data), 0o644
            tar.addfile(about, BytesIO(data))


def images_in(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each image in a tar of `write_images`; FavError where it is something else, or cut off."""
    try:
        with tarfile.open(file, "r:") as tar:
            for about in tar:
                content = tar.extractfile(about) if about.isreg() else None
                if content is None or about.name != Path(about.name).name or about.name.startswith("."):
                    raise FavError(f"{file}: expected images, got {about.name[:80]!r}")
                yield about.name, content
    except (tarfile.TarError, EOFError) as error:
        raise FavError(f"{file}: expected whole images, got {error}") from error
