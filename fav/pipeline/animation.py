"""Write a small GIF or WebP animation of a job's frames so far, for a chat or a web page."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.film_comment import film_comment
from fav.pipeline.omitted_results import OmittedResults
from fav.pipeline.spec import JobSpec
from fav.pipeline.stitching import check_begun
from fav.stylize.outside import stack
from fav.stylize.postprocess import postprocess
from fav.video import FrameIndex, FrameReader
from shared.errors import ResultVanishedError

FORMATS = {".gif": "GIF", ".webp": "WEBP"}
MAX_RATE = {".gif": 12.5, ".webp": 25.0}  # frames per second; GIF has times in hundredths of a second
MAX_SIDE = 480  # pixels of the longer side
IMAGE_DESCRIPTION = 0x010E  # tag of Exif
WEBP_QUALITY = 80


def is_animation(name: Path) -> bool:
    return name.suffix.lower() in FORMATS


def animate(artifacts: JobArtifacts, video: Path, file: Path, name: Path) -> OmittedResults:
    """Write an animation of the indexed part of a film. Missing frames are replaced by darkened source frames.

    Args:
        artifacts: of the job, with its index loaded.
        video: the source.
        file: the file to write.
        name: of the animation, whose suffix is .gif or .webp.

    Returns:
        The frames that are missing.

    Raises:
        FavError: no frame is indexed yet.
    """
    check_begun(artifacts)
    spec, timeline, left_out, suffix = artifacts.spec, artifacts.timeline, OmittedResults(), name.suffix.lower()
    scale = min(MAX_SIDE / max(spec.width, spec.height), 1)
    size = max(round(spec.width * scale), 1), max(round(spec.height * scale), 1)
    postprocessing = replace(spec.postprocess_settings(artifacts.job.share.layout.root), size=size, sixteen_bit=False)
    chosen, milliseconds = chosen_frames(timeline.index, spec.start, timeline.end, MAX_RATE[suffix])

    def frames() -> Iterator[np.ndarray]:
        with FrameReader(video, size=spec.network_size, settings=spec.source) as reader:
            for number in range(spec.start, timeline.end):
                try:
                    yield artifacts.frame(number)
                except ResultVanishedError as error:
                    left_out.add(number, error)
                    dark = reader.read(number, timeline.index) // 2
                    yield stack(dark, dark) if spec.outside else dark

    def encoded_images() -> Iterator[Image.Image]:
        film_frames = postprocess(frames(), postprocessing, video, timeline.index, spec.start, spec.source)
        for number, frame in enumerate(film_frames, spec.start):
            if number in chosen:
                image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
                yield image.quantize(256) if suffix == ".gif" else image

    images = encoded_images()
    first = next(images)
    options = _metadata(spec, suffix) | ({} if suffix == ".gif" else {"quality": WEBP_QUALITY})
    with open(file, "wb") as out:
        first.save(
            out, FORMATS[suffix], save_all=True, append_images=images, duration=milliseconds, loop=0, optimize=False, **options
        )  # fmt: skip
    return left_out


def _metadata(spec: JobSpec, suffix: str) -> dict[str, bytes]:
    """How the film is made, as Pillow writes it: the comment of a GIF, the ImageDescription of a WebP."""
    made_by = film_comment(spec)
    if made_by is None:
        return {}
    if suffix == ".gif":
        return {"comment": made_by.encode()}
    exif = Image.Exif()
    exif[IMAGE_DESCRIPTION] = made_by
    return {
        "exif": exif.tobytes().removeprefix(b"Exif\0\0")
    }  # the prefix is that of JPEG; in WebP it makes readers warn


def chosen_frames(index: FrameIndex, start: int, stop: int, rate: float) -> tuple[set[int], list[int]]:
    """Choose the frames of an animation.

    Args:
        index: of the source.
        start: the first frame of the film.
        stop: one past the last one.
        rate: maximum frames per second.

    Returns:
        The numbers of the chosen frames, and the milliseconds for which each is shown. These are multiples of 10; the
        total differs from the film's length by at most 10.
    """
    times = [float(int(index.pts[number]) * index.time_base) for number in range(start, stop)]
    end = float(index.end(stop) * index.time_base)
    chosen = [0]
    for position, time in enumerate(times):
        if time - times[chosen[-1]] > 1 / rate - 1e-3:
            chosen.append(position)
    hundredths = [round((times[position] - times[0]) * 100) for position in chosen] + [round((end - times[0]) * 100)]
    return {start + position for position in chosen}, [max(b - a, 2) * 10 for a, b in zip(hundredths, hundredths[1:])]
