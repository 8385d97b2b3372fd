"""Write numbered images instead of a film: PNG, TIFF or OpenEXR files, in a directory or a tar archive."""

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
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

STREAM_NAMES = {"audio": "sound", "subtitle": "subtitles"}
TIFF = [cv2.IMWRITE_TIFF_COMPRESSION, 8]  # deflate


def image_bytes(image: np.ndarray, encoder: EncoderSettings) -> bytes:
    """Encode an image as PNG, TIFF or OpenEXR.

    Args:
        image: (H, W, 3) BGR in sRGB, uint8 or uint16, where 65535 is white. OpenEXR gets linear light.
        encoder: the image format and its pixel format.
    """
    if encoder.name == "exr":
        return _exr(image, encoder)
    if encoder.bits == 8 and image.dtype != np.uint8 or encoder.bits == 16 and image.dtype != np.uint16:
        raise ValueError(f"image: expected samples of {encoder.bits} bits, got {image.dtype}")
    if encoder.name == "png":
        return encode_png(image)
    return cv2.imencode(".tif", np.ascontiguousarray(image), TIFF)[1].tobytes()


def _exr(image: np.ndarray, encoder: EncoderSettings) -> bytes:
    # FFmpeg's encoder accepts only 32-bit samples; an option sets the bits that it writes.
    frame = light_of(image, "gbrpf32le")
    codec = av.CodecContext.create(encoder.codec, "w")
    if not isinstance(codec, VideoCodecContext):
        raise TypeError(f"{encoder.codec}: expected an image encoder")
    codec.width, codec.height, codec.pix_fmt, codec.framerate = frame.width, frame.height, "gbrpf32le", Fraction(25)
    codec.options = encoder.options | {"format": "half" if encoder.pixel_format == "gbrpf16le" else "float"}
    codec.thread_count = 1
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def first_number(video: Path | str) -> int:
    """The number in the name of frame 0's image: that of the source's first image if it is a sequence, otherwise 0."""
    return sequence_numbers(str(video))[0] if is_sequence(str(video)) else 0


def image_notes(video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> list[str]:
    """A note on the streams and chapters of a video that images cannot have."""
    with open_video(video, settings) as source:
        chosen = video_stream(source, video)
        types = sorted(
            {STREAM_NAMES.get(stream.type, stream.type) for stream in source.streams if stream.index != chosen.index}
        )
        types += ["chapters"] if source.chapters() else []
    return [f"images have no times; left out: {', '.join(types)}"] if types else []


def write_images(out: Path, name: Path | str, images: Iterable[tuple[int, bytes]]) -> None:
    """Write encoded images into a directory or a tar archive. The archive's bytes depend only on names and content.

    Args:
        out: an existing directory, or the path of a new archive.
        name: the pattern of the names, such as `dir/frame_%06d.png`; its directory is ignored.
        images: number and content of each image.
    """
    pattern = Path(name).name
    if out.is_dir():
        for number, data in images:
            (out / (pattern % number)).write_bytes(data)
        return
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, data in images:
            member = tarfile.TarInfo(pattern % number)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, BytesIO(data))


def images_in(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each image in an archive of `write_images`.

    Raises:
        FavError: the file is not such an archive, or is truncated.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or member.name != Path(member.name).name or member.name.startswith("."):
                    raise FavError(f"{file}: expected images, got {member.name[:80]!r}")
                yield member.name, content
    except (tarfile.TarError, EOFError) as error:
        raise FavError(f"{file}: expected a complete archive of images, got {error}") from error
