"""A small GIF or WebP of what a job has finished so far, for a chat or a web page."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fav.pipeline.artifacts import JobArtifacts, OmittedResults
from fav.pipeline.delivery import check_begun
from fav.stylize.postprocess import postprocess
from fav.video import FrameIndex, FrameReader
from shared.errors import ResultVanishedError

KINDS = {".gif": "GIF", ".webp": "WEBP"}
RATE = {".gif": 12.5, ".webp": 25.0}  # frames a second, at most: a GIF counts hundredths
SIDE = 480  # pixels of the longer side, at most
QUALITY = 80  # of WebP


def is_animation(name: Path) -> bool:
    return name.suffix.lower() in KINDS


def animate(artifacts: JobArtifacts, video: Path, file: Path, name: Path) -> OmittedResults:
    """Write what is finished, as far as the index goes, into `file`, which is called `name`: .gif or .webp.

    Frames that are missing are the source, darkened, and are in the answer. FavError where nothing is indexed yet.
    """
    check_begun(artifacts)
    spec, timeline, left_out, suffix = artifacts.spec, artifacts.timeline, OmittedResults(), name.suffix.lower()
    scale = min(SIDE / max(spec.width, spec.height), 1)
    size = max(round(spec.width * scale), 1), max(round(spec.height * scale), 1)
    finish = replace(spec.postprocess_settings(artifacts.job.share.layout.root), size=size, sixteen_bit=False)
    chosen, milliseconds = chosen_frames(timeline.index, spec.start, timeline.end, RATE[suffix])

    def frames() -> Iterator[np.ndarray]:
        with FrameReader(video, size=spec.network_size, settings=spec.source) as reader:
            for number in range(spec.start, timeline.end):
                try:
                    yield artifacts.frame(number)
                except ResultVanishedError as error:
                    left_out.add(number, error)
                    yield reader.read(number, timeline.index) // 2

    def pictures() -> Iterator[Image.Image]:
        finished = postprocess(frames(), finish, video, timeline.index, spec.start, spec.source)
        for number, picture in enumerate(finished, spec.start):
            if number in chosen:
                image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
                yield image.quantize(256) if suffix == ".gif" else image

    images = pictures()
    first = next(images)
    options = {} if suffix == ".gif" else {"quality": QUALITY}
    with open(file, "wb") as out:
        first.save(
            out, KINDS[suffix], save_all=True, append_images=images, duration=milliseconds, loop=0, optimize=False, **options
        )  # fmt: skip
    return left_out


def chosen_frames(index: FrameIndex, start: int, stop: int, rate: float) -> tuple[set[int], list[int]]:
    """Which of the frames `[start, stop)` are shown at `rate` frames a second at most, and for how many milliseconds each.

    These are tens, of which an animation's length is the film's to within one.
    """
    times = [float(int(index.pts[number]) * index.time_base) for number in range(start, stop)]
    end = float(index.end(stop) * index.time_base)
    chosen = [0]
    for place, time in enumerate(times):
        if time - times[chosen[-1]] > 1 / rate - 1e-3:
            chosen.append(place)
    shown = [round((times[place] - times[0]) * 100) for place in chosen] + [round((end - times[0]) * 100)]
    return {start + place for place in chosen}, [max(b - a, 2) * 10 for a, b in zip(shown, shown[1:])]
