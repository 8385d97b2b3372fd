"""The functions that run in the process for pictures. Arguments and results are paths and plain values.

Only `submit` changes the shared directory; it does what the command of that name does.
"""

import time
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fav.errors import FavError
from fav.pipeline.job_control import resolve_job, submit_and_notify
from fav.pipeline.job_files import open_share
from fav.pipeline.request import Request
from fav.util.images import read_image, resize
from fav.util.text import duration, format_bytes
from fav.video import VideoInfo, probe

if TYPE_CHECKING:
    from fav.stylize.trial import FrameTimes

WIDEST = 1920  # pixels of a picture that a page shows
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
THUMB = [cv2.IMWRITE_JPEG_QUALITY, 82]
SAMPLE = (640, 360)  # pixels of the frame that shows a style
OPEN_VIDEOS = 4  # maximum number of videos that stay open


def describe(video: Path) -> dict[str, Any]:
    """The properties of a video: `width`, `height`, `seconds`, `frames`, `rate`, `sound` and `notes`. Raises FavError for another file."""
    source = probe(video)
    return {
        "width": source.width,
        "height": source.height,
        "seconds": _seconds(source),
        "frames": _frames(source),
        "rate": float(source.rate) if source.rate else None,
        "sound": source.sound,
        "notes": list(source.notes),
    }


def check(path: Path) -> None:
    """Raise FavError unless a file is a picture or a video, according to its suffix."""
    if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"):
        read_image(path)
    else:
        probe(path)


def moment(video: Path, seconds: float, width: int) -> bytes:
    """A frame of a video as JPEG, at most `width` pixels wide."""
    from fav.video.sampling import frames_at

    return _jpeg(_fit(frames_at(video, seconds)[0], width), JPEG if width > 640 else THUMB)


def picture(path: Path, width: int) -> bytes:
    """A picture of the user as JPEG, at most `width` pixels wide."""
    return _jpeg(_fit(read_image(path), width), THUMB)


def picture_facts(path: Path) -> dict[str, int]:
    """The `width` and `height` of a picture of the user, in pixels."""
    height, width = read_image(path).shape[:2]
    return {"width": width, "height": height}


def prepare() -> None:
    """Import what `trial` needs, which takes seconds."""
    import fav.stylize.trial  # noqa: F401
    from fav.model.backends import choose

    choose("auto", "cpu")


def trial(
    video: Path,
    seconds: float,
    style: Path,
    mix: tuple[tuple[Path, float], ...],
    style_scale: float,
    width: int | None,
    projection: str = "flat",
) -> tuple[bytes, float]:
    """A stylized frame of a video as JPEG, and the seconds that a frame of the film takes on this machine.

    Strokes have a fixed size in pixels. So the frame is stylized at the size of the film, and shown smaller.
    """
    from fav.pipeline.film_output import film_size
    from fav.pipeline.projection import check_projection
    from fav.stylize.trial import plain_variant, trials
    from fav.video.sampling import moment_at

    asked = Request(video=str(video), style=style, projection=projection)
    source, (device, backend, precision) = probe(video, asked.source), _engine()
    size = film_size(source, width, None)
    variant = plain_variant(style, size, mix, style_scale, precision, projection)
    check_projection(asked, source, variant.settings.size)
    shown = moment_at(video, seconds, 2, asked.source)
    one = next(trials([variant], [shown], device, backend, times=_times()))
    return _jpeg(_fit(one.image, WIDEST), JPEG), one.seconds or 0.0


def style_facts(style: Path) -> dict[str, str]:
    """The architecture and metadata of a style file."""
    from fav.model.checkpoints import style_facts as facts_of

    facts = facts_of(style)
    return {"network": facts.arch, **facts.metadata}


def style_preview(style: Path, source: bool = False) -> bytes:
    """A frame of the sample clip in a style, as JPEG; with `source`, the frame itself."""
    from fav.stylize.trial import plain_variant, trials
    from fav.synthetic.sample_clip import coast
    from fav.video.sampling import Moment

    frame, (device, backend, precision) = coast(*SAMPLE, 1.0), _engine()
    if not source:
        variant = plain_variant(style, SAMPLE, precision=precision)
        frame = next(trials([variant], [Moment([frame])], device, backend, times=_times())).image
    return _jpeg(frame, THUMB)


@lru_cache(1)
def _times() -> "FrameTimes":
    """The times of frames that were measured by this process."""
    from fav.stylize.trial import FrameTimes

    return FrameTimes()


@lru_cache(1)
def _engine() -> tuple[str, str, str]:
    """Device, backend and precision, as a node on this machine would choose them."""
    from fav.model.backends import choose
    from fav.model.devices import best_precision, device_of
    from fav.pipeline.device_lock import acquire_device

    device = acquire_device("auto")
    return device, choose("auto", device), best_precision(device_of(device))


def estimate(root: Path, request: Request) -> dict[str, Any]:
    """The properties of a film before it is made: size, frames, disk space, name of the job, and the command."""
    from fav.pipeline.check_request import check_request
    from fav.pipeline.check_space import film_space
    from fav.pipeline.job_naming import default_name
    from fav.pipeline.provenance import command_of
    from fav.pipeline.resolve_options import with_chunk_length, with_cuts
    from fav.pipeline.spec_fields import spec_fields

    share = open_share(root, read_only=True)
    request, _ = with_cuts(request)
    source = check_request(request)
    request, _ = with_chunk_length(request, source)
    options = spec_fields(request, source)
    found = film_space(share, request, source, options)
    free = share.system.free_bytes(root)
    return {
        "size": f"{options['width']}×{options['height']}",
        "frames": found and found[0],
        "room": f"up to {format_bytes(found[1].size)}" if found else "not known",
        "free": format_bytes(free),
        "fits": found is None or found[1].half.fits(free, None),
        "length": duration(found[0] / float(source.rate)) if found and source.rate else "",
        "name": default_name(request),
        "line": command_of(request, root),
    }


def submit(root: Path, request: Request) -> dict[str, Any]:
    """Create the job or join it. Returns its `name`, whether it was `created`, and `notes` for the user."""
    made = submit_and_notify(open_share(root, new=False), request)
    return {"name": made.job.name, "created": made.created, "notes": list(made.notes)}


def report(root: Path, name: str) -> str:
    """The page about a job, as the command `report` writes it."""
    from fav.report.data import collect
    from fav.report.html import page
    from fav.util.safe_path import resolve_input

    job = resolve_job(open_share(root, read_only=True), name)
    facts = collect(job)
    return page(facts, resolve_input(root, facts.artifacts.spec.video), f"fav report of {job.manifest.id}")


def job_picture(root: Path, name: str, job_id: str, number: int, after: bool, width: int) -> bytes:
    """A frame of a job's film as JPEG; if `after` is False, the frame of its video.

    Raises:
        FavError: the frame is not there yet, or the job was removed.
    """
    known = _OpenJob.of(root, name, job_id)
    return _jpeg(known.film(number, width) if after else known.source(number, width), THUMB if width <= 640 else JPEG)


class _OpenJob:
    """A job whose pictures are requested: its published results, and its opened video."""

    all: "OrderedDict[str, _OpenJob]" = OrderedDict()

    def __init__(self, root: Path, name: str):
        from fav.pipeline.artifacts import JobArtifacts

        self.root, self.job = root, resolve_job(open_share(root, read_only=True), name)
        self.artifacts = JobArtifacts(self.job)
        self.looked = 0.0
        self.reader = None

    @classmethod
    def of(cls, root: Path, name: str, job_id: str) -> "_OpenJob":
        known = cls.all.get(job_id)
        if known is None:
            known = cls(root, name)
            if known.job.manifest.id != job_id:
                raise FavError(f"{name}: expected the same job, got a new one of this name; load the page again")
            cls.all[job_id] = known
            while len(cls.all) > OPEN_VIDEOS:
                _, oldest = cls.all.popitem(last=False)
                if oldest.reader:
                    oldest.reader.close()
        cls.all.move_to_end(job_id)
        return known

    def source(self, number: int, width: int) -> np.ndarray:
        """The frame of the video, (H, W, 3) uint8 BGR."""
        from fav.util.safe_path import resolve_input
        from fav.video import FrameReader

        self._load(number)
        if self.reader is None:
            spec = self.artifacts.spec
            self.reader = FrameReader(resolve_input(self.root, spec.video), settings=spec.source)
        return resize(self.reader.read(number, self.artifacts.timeline.index), self._size(width))

    def film(self, number: int, width: int) -> np.ndarray:
        """The frame of the film, (H, W, 3) uint8 BGR."""
        from fav.stylize.postprocess import postprocess
        from fav.util.safe_path import resolve_input

        self._load(number)
        spec = self.artifacts.spec
        painted, size = self.artifacts.frame(number), self._size(width)
        finish = replace(spec.postprocess_settings(self.root), size=size)
        if not (finish.needs_source or finish.outside):
            return resize(painted, size)
        video = resolve_input(self.root, spec.video)
        return next(postprocess([painted], finish, video, self.artifacts.timeline.index, number, spec.source))

    def _load(self, number: int) -> None:
        """Load the index up to a frame. Raises FavError if the frame is not indexed yet."""
        timeline = self.artifacts.timeline
        if number >= timeline.end and time.monotonic() - self.looked > 1:
            self.looked = time.monotonic()
            self.artifacts.load_new_segments()
        if not timeline.start <= number < timeline.end:
            raise FavError(f"{self.job.name}: frame {number} is not there yet")

    def _size(self, width: int) -> tuple[int, int]:
        spec = self.artifacts.spec
        wide = min(width, spec.width, WIDEST)
        return wide, max(round(spec.height * wide / spec.width), 1)


def _fit(frame: np.ndarray, width: int) -> np.ndarray:
    """Reduce a frame to at most `width` pixels."""
    height, wide = frame.shape[:2]
    return frame if wide <= width else resize(frame, (width, max(round(height * width / wide), 1)))


def _jpeg(frame: np.ndarray, how: list[int]) -> bytes:
    return cv2.imencode(".jpg", frame, how)[1].tobytes()


def _seconds(source: VideoInfo) -> float | None:
    return source.seconds or (source.frames / float(source.rate) if source.frames and source.rate else None)


def _frames(source: VideoInfo) -> int | None:
    return source.frames or (round(source.seconds * source.rate) if source.seconds and source.rate else None)
