"""Check the inputs of a request against its options, before a job is created."""

from itertools import islice
from pathlib import Path

import numpy as np

from fav import flow as flows
from fav.errors import FavError
from fav.flow.files import check as check_files
from fav.flow.files import find_wrong_option
from fav.model.interpolation import load_mixture
from fav.model.onnx_style import load_image_model
from fav.pipeline.arguments import check_arguments
from fav.pipeline.film_output import film_encoder, film_size
from fav.pipeline.over_time import check_times, mix_at_start
from fav.pipeline.projection import check_projection
from fav.pipeline.request import Request
from fav.stylize.postprocess import check_mask
from fav.stylize.settings import network_size
from fav.util.fingerprint import check_same_format
from fav.util.image_sequence import check_no_gaps, is_sequence
from fav.util.images import read_image
from fav.video import VideoInfo, check_film_name, decode, probe, reaches

MIN_SIDE = 8  # pixels of a film that is smaller than the video
CHECKED_FRAMES = 24  # the first frames of the film, of which some are used to check flow files


def check_request(request: Request, out: Path | None = None) -> VideoInfo:
    """Check all inputs of a request.

    Args:
        request: the command line.
        out: the film, if it is made without a job.

    Returns:
        The properties of the video.

    Raises:
        FavError: an input is missing, damaged, or does not fit the options.
    """
    for style in (request.style, *(style for style, _ in request.mix), *([request.outside] if request.outside else [])):
        check_arguments(request.video, style)
    film_encoder(request, out)
    files = request.flow_files
    for images, stop in ((request.video, request.last), (str(request.mask or ""), None)):
        if is_sequence(images):
            check_no_gaps(images, stop)
    source = probe(request.video, request.source)
    check_projection(
        request, source, network_size(film_size(source, request.width, request.scale), request.style_scale)
    )
    flow_files = (str(path or "") for path in (files.backward, files.forward, files.reliability))
    for images in (request.video, str(request.mask or ""), *flow_files):
        if is_sequence(images):
            check_same_format(images)
    load_mixture(request.style, mix_at_start(request.mix), temporal=not request.no_temporal)
    check_times(request, source)
    if request.outside:
        load_mixture(request.outside, temporal=not request.no_temporal)
    if request.first_frame_style:
        load_image_model(request.first_frame_style)
    if request.init_frame:
        read_image(request.init_frame)
    if request.mask:
        check_mask(request.mask, request.video, request.source)
    if request.evaluate:
        from fav.evaluation.perceptual_metrics import (  # slow to import, and only for --evaluate
            losses_of,
            style_image_of,
        )

        losses_of(request.evaluate, str(request.loss_network)) if request.loss_network else style_image_of(
            request.evaluate
        )
    if request.cuts and not reaches(source, request.cuts[-1], request.source):
        known = f"{source.frames}, " if source.frames is not None else ""
        raise FavError(
            f"{request.read_cuts}: expected frame numbers below {known}the number of frames, got {request.cuts[-1]}"
        )
    if request.out:
        check_film_name(request.out)
        if not request.out.isprintable():
            raise FavError(f"--out: expected a name of printable characters, got {request.out!r}")
    flows.check(request.flow, request.flow_weights)
    _check_flow_files(request, source)
    if request.scale and min(source.width, source.height) * request.scale < MIN_SIDE <= source.width:
        raise FavError(
            f"--scale: expected a film of at least {MIN_SIDE} pixels per side, got {source.width * request.scale:.0f}x"
            f"{source.height * request.scale:.0f} from {source.width}x{source.height}"
        )
    start = request.range[0]
    if start and not reaches(source, start, request.source):
        known = f" ({source.frames})" if source.frames is not None else ""
        raise FavError(f"--range: expected a START below the number of frames of {request.video}{known}, got {start}")
    return source


def _check_flow_files(request: Request, source: VideoInfo) -> None:
    """Check the files of flow.

    Raises:
        FavError: files are missing or have another size, or they fit the frames better with other options.
    """
    files = request.flow_files
    if not files:
        return
    start = request.range[0]
    ends = [end for end in (request.last, source.frames) if end is not None]
    frames = range(start, max(min(ends, default=start + 2), start + 1))
    check_files(
        files,
        frames,
        request.cuts or (),
        (
            (source.width, source.height),
            network_size(film_size(source, request.width, request.scale), request.style_scale),
        ),
    )
    if request.flow_unchecked:
        return
    with decode(Path(request.video), request.source) as decoding:
        decoded = {
            frame.number: frame.image() for frame in islice(decoding, start, min(frames.stop, start + CHECKED_FRAMES))
        }
    if decoded and (suspicion := find_wrong_option(files, _first_middle_last(decoded))):
        raise FavError(f"{suspicion}; --flow-unchecked uses them anyway")


def _first_middle_last(frames: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The first three frames, three in the middle, and the last three."""
    first, last = min(frames), max(frames)
    middle = (first + last) // 2
    chosen = {number + step for number in (first + 1, middle, last - 1) for step in (-1, 0, 1)}
    return {number: frames[number] for number in sorted(chosen & frames.keys())}
