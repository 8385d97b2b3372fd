"""Compare the free space of the shared directory with what a job will need, before the job is created."""

from pathlib import Path

from fav import flow as flows
from fav.errors import FavError
from fav.pipeline.disk_space import DiskUsage, required_space
from fav.pipeline.film_output import film_encoder
from fav.pipeline.import_inputs import files_of
from fav.pipeline.projection import FLAT
from fav.pipeline.request import Request
from fav.pipeline.spec import INPUT_FIELDS, LINKED_INPUTS
from fav.pipeline.task_names import FLOW_AHEAD
from fav.stylize.cube import stored_size
from fav.stylize.settings import CROSSFADE, network_size
from fav.util.text import format_bytes
from fav.video import VideoInfo
from fav.video.codecs import bytes_per_pixel
from shared.command_names import command
from shared.shared_dir import SharedDir


def check_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[str, ...]:
    """Compare the free space with the estimate of a job.

    Returns:
        A note if the estimate does not fit.

    Raises:
        FavError: not even half of the estimate fits.
    """
    needed = film_space(share, request, source, options)
    if needed is None:
        return ()
    frames, need = needed
    what = f"{frames} frames of {options['width']}x{options['height']}"
    return compare_space(share, need, what, "make a smaller film (--width, --frames), or use --no-space-check")


def compare_space(share: SharedDir, need: DiskUsage, what: str, cure: str) -> tuple[str, ...]:
    """Compare the free space of the shared directory with an estimate.

    Args:
        share: the shared directory.
        need: the estimate.
        what: what it is for, as the message says it.
        cure: what else the user can do beside freeing space, as the message says it.

    Returns:
        A note if the estimate does not fit.

    Raises:
        FavError: not even half of the estimate fits.
    """
    root, system = share.layout.root, share.system
    free = system.free_bytes(root), system.free_files(root)
    if need.fits(*free):
        return ()
    left = format_bytes(free[0]) + ("" if free[1] is None else f" and {free[1]} files")
    told = f"up to {format_bytes(need.size)} in {need.files} files for {what}"
    if need.half.fits(*free):
        return (f"{root} may fill up: the job may take {told}, and {left} are free; nodes wait if the disk is full",)
    raise FavError(
        f"{root}: expected space for {told}, got {left}; free some space ({command('clean')} removes a job with its "
        f"frames), {cure}"
    )


def film_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[int, DiskUsage] | None:
    """Estimate the number of frames of a job, and its disk usage.

    Args:
        share: the shared directory.
        request: the command line.
        source: the properties of the video.
        options: of `spec_fields`.

    Returns:
        None if the length of the video is unknown.
    """
    frames, size = frames_of(source, options), (options["width"], options["height"])
    if frames is None:
        return None
    published_flows = (
        (frames if request.keep_flow else min(frames, FLOW_AHEAD))
        if request.projection == FLAT
        and flows.is_published(request.flow, request.no_temporal, request.flow_files.is_complete(request.reverse))
        else 0
    )
    warmups = CROSSFADE * (frames // request.chunk) if request.chunk else 0
    encoder = film_encoder(request)
    need = required_space(
        (frames + warmups) * (2 if request.outside else 1),
        stored_size(request.projection, network_size(size, request.style_scale)),
        published_flows,
        inputs=_inputs(share, request),
        film_size=size,
        film=bytes_per_pixel(encoder)
        * (1.5 if encoder.is_images else 1),  # until they are delivered, images are in an archive
    )
    return frames, need


def frames_of(source: VideoInfo, options: dict) -> int | None:
    """Estimate the number of frames of a job; None if the length of the video is unknown."""
    estimate = round(source.seconds * source.rate) if source.seconds and source.rate else None
    stop = min((end for end in (options["stop"], source.frames or estimate) if end is not None), default=None)
    return None if stop is None else max(stop - options["start"], 0)


def _inputs(share: SharedDir, request: Request) -> DiskUsage:
    """The disk usage of the inputs that are copied into the job."""
    paths = [
        *(getattr(request, name) for name in INPUT_FIELDS if name not in LINKED_INPUTS),
        *(style for style, _ in request.mix),
    ]
    files = [file for path in paths if path for file in files_of(path)]
    for path in (Path(request.video), *(getattr(request, name) for name in LINKED_INPUTS)):
        large = files_of(path, path != Path(request.video)) if path else []
        if large and large[0].stat().st_dev != share.layout.root.stat().st_dev:  # otherwise they are linked
            files += large
    return DiskUsage(sum(file.stat().st_size for file in files), len(files))
