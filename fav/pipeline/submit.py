"""Submit a job: check the whole command line first, then create the job, or join an existing one."""

import fcntl
import filecmp
import hashlib
import itertools
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from filelock import FileLock, Timeout
from msgspec.structs import replace

from fav import flow as flows
from fav.errors import FavError, sanitize
from fav.flow.files import check as check_files
from fav.flow.files import find_wrong_option
from fav.model.devices import best_precision, device_of
from fav.model.interpolation import load_mixture
from fav.model.onnx_style import load_image_model
from fav.pipeline.arguments import check_arguments
from fav.pipeline.artifacts import check_output_directory
from fav.pipeline.delivery import evaluation_name, is_free
from fav.pipeline.disk_space import DiskUsage, required_space
from fav.pipeline.film_comment import film_comment, origin_of
from fav.pipeline.inputs import changed_inputs
from fav.pipeline.job_naming import FILM_OPTIONS, default_name, find_or_name
from fav.pipeline.over_time import check_times, mix_at_start
from fav.pipeline.provenance import provenance_of
from fav.pipeline.repair import repair
from fav.pipeline.request import Request, differences, stitch_words
from fav.pipeline.spec import (
    AUTO_CHUNK,
    INPUT_FIELDS,
    LINKED_INPUTS,
    LOSS_NETWORK,
    OPTIONS,
    VALUE_FIELDS,
    JobSpec,
    check_size,
    format_number,
)
from fav.pipeline.task_names import FLOW_AHEAD, REPORTS
from fav.stylize.images import READ_SUFFIXES
from fav.stylize.postprocess import check_mask
from fav.stylize.settings import CROSSFADE, SEGMENT_LENGTH, PostprocessSettings, StyleSettings, network_size
from fav.util.atomic import exclusive
from fav.util.curve import Curve
from fav.util.fingerprint import check_same_format, hash_of, video_fingerprint
from fav.util.image_sequence import check_no_gaps, is_image_output, is_sequence, sequence_files
from fav.util.images import read_image
from fav.util.safe_path import resolve_inside
from fav.util.text import format_bytes
from fav.video import VideoInfo, check_film, check_film_name, decode, probe, reaches
from fav.video.codecs import (
    DEFAULT,
    EncoderSettings,
    bytes_per_pixel,
    check_no_codec,
    film_settings,
    film_suffix,
    film_suffixes,
    usual_crf,
)
from fav.video.shot_detection import read_cuts
from shared.attempts import reopen
from shared.command_names import command
from shared.errors import UserError
from shared.filesystem import FileSystem
from shared.jobs import Job, all_jobs, create_job, find_job, job_name
from shared.local import lock_file
from shared.membership import Node
from shared.ownership import record_inputs
from shared.paths import NAMED, JobPaths, is_name
from shared.shared_dir import SharedDir

LOCK_TIMEOUT_S = 60.0
FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file
CLONED, LINKED, COPIED, FOUND = "cloned", "linked", "copied", "linked from a job that has the same video"
MAX_NOTES, MAX_NOTE_LENGTH = 20, 500
MAX_SEGMENT_BYTES, MIN_SEGMENT = 256 << 20, 3  # of a segment with independent frames: bytes, frames
SMALL = 0.6  # of the video's width: strokes in a smaller film look clearly larger
MIN_SIDE = 8  # pixels of a film that is smaller than the video


@dataclass(frozen=True)
class SubmitResult:
    """A job, whether this request created it, and notes for the user."""

    job: Job
    created: bool
    notes: tuple[str, ...] = ()


def submit(node: Node, request: Request) -> SubmitResult:
    """Create the job of a request, or join it. If the job is finished, all its results are checked.

    Raises:
        FavError: an input or option is not valid, or the job has other options. No job is created.
        JobQueueError: a manifest cannot be read.
    """
    share = node.share
    request = replace(request, out=within(share.layout.root, request.out))
    request.check()
    base = default_name(request)
    if not is_name(base):
        raise FavError(
            f"--name: expected {NAMED}, and not '-', '.' or '_' first, got {base[:200]!r}; {job_name(base)} would do"
        )
    if request.out:
        check_output_directory(share, request.out)
    request, cuts_read = with_cuts(request)
    request, notes = with_loss_network(request)
    notes += cuts_read
    with _submit_lock(share, base):
        source = check(request)
        request, chunking = with_chunk_length(request, source)
        options = spec_fields(request, source)
        wanted = JobSpec(video="", style="", **options)
        name, job, others = find_or_name(share, request, wanted)
        created, import_notes = False, []
        if job is None:
            options["notes"] = (
                *source.notes,
                *chunking,
                *film_notes(request, options),
                *crf_notes(options["crf"], options["codec"]),
            )
            notes += options["notes"]
            notes += (*picture_notes(request), *stroke_notes(request, source, options["width"]))
        while job is None:
            try:
                notes += () if request.no_space_check else _check_space(share, request, source, options)
                job, created = create_job(
                    node,
                    name,
                    request.lease,
                    lambda layout: _fill(share, layout, request, options, name, import_notes.append),
                )
            except FavError:
                # If another process has created the job meanwhile, its film may exist already.
                if find_job(share, name) is None:
                    raise
            if not created:  # another process was first
                name, job, others = find_or_name(share, request, wanted)
    if created and not request.out and Path(out := job.manifest.spec["out"]).stem != name:
        notes += (f"{Path(out).with_stem(name)} exists already; this film will be {out}",)
    if not created:
        return _join(node, job, request, wanted)
    return SubmitResult(job, True, (*others, *notes, *import_notes))


@contextmanager
def _submit_lock(share: SharedDir, name: str) -> Iterator[None]:
    """Let one process of this host submit a job at a time, so that ten nodes do not copy the video ten times.

    The lock only saves work: after LOCK_TIMEOUT_S, a process continues without it.
    """
    path = lock_file(hashlib.blake2b(os.fsencode(share.layout.root / name), digest_size=8).hexdigest())
    lock = FileLock(path, timeout=LOCK_TIMEOUT_S) if path else None
    # OSError: another kind of file has its name. NotImplementedError: the file system has no locks.
    with suppress(Timeout, OSError, NotImplementedError):
        if lock:
            lock.acquire()
    try:
        yield
    finally:
        if lock and path:
            with suppress(OSError):
                if lock.is_locked:
                    path.unlink()  # then a waiting and a new process may both continue, which is harmless
            with suppress(OSError):
                lock.release()


def check(request: Request, out: Path | None = None) -> VideoInfo:
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


CHECKED_FRAMES = 24  # the first frames of the film, of which some are used to check flow files


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


@overload
def within(root: Path, out: str) -> str: ...
@overload
def within(root: Path, out: str | None) -> str | None: ...
def within(root: Path, out: str | None) -> str | None:
    """The film's path relative to the shared directory `root`, if `out` is an absolute path inside; otherwise `out`."""
    if out is None or not Path(out).is_absolute():
        return out
    path = Path(out).parent.resolve() / Path(out).name
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else out


def film_name(request: Request) -> str:
    """The film's name; if it will follow from the job's name, any name with the same suffix."""
    return request.out or f"film{film_suffix(request.codec, request.video)}"


def film_encoder(request: Request, out: Path | str | None = None) -> EncoderSettings:
    """The encoder settings of a request's film.

    Args:
        request: the command line.
        out: the film, if it is made without a job.

    Raises:
        FavError: codec, pixel format, preset, quality and the film's name do not fit, or FFmpeg lacks the encoder.
    """
    name = str(out or film_name(request))
    check_film_name(name)
    if is_image_output(name):
        check_no_codec(request.given)
    return film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, crf=request.crf)


def film_notes(request: Request, options: dict) -> tuple[str, ...]:
    """Notes on what the film will not have as the video has it.

    Args:
        request: the command line.
        options: of `spec_fields`.

    Raises:
        FavError: the film could not be written.
    """
    film = film_name(request)
    notes = check_film(
        request.video,
        film,
        start=options["start"],
        stop=options["stop"],
        settings=request.source,
        encoder=film_encoder(request),
        size=(options["width"], options["height"]),
    )
    return tuple(sanitize(note, MAX_NOTE_LENGTH) for note in notes[:MAX_NOTES])


def another_film(
    spec: JobSpec,
    root: Path,
    out: str | None,
    codec: str | None = None,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
) -> JobSpec:
    """The spec of another film of the same frames.

    Args:
        spec: of the job.
        root: the shared directory.
        out: path of the new film, relative to `root`; None: a free name.
        codec: None: the job's.
        pixel_format: None: the job's, or the default of another codec.
        preset: None: the job's, or the default of another codec.
        crf: None: the job's, or the default of another codec.

    Raises:
        FavError: the options do not fit, or the film's name is taken.
    """
    given = {name: value for name, value in (("codec", codec), ("preset", preset), ("crf", crf)) if value is not None}
    codec = codec or spec.codec
    if out is None:
        first = Path(spec.out)
        if given.get("codec") and (spec.is_images or first.suffix.lower() not in film_suffixes(codec)):
            first = first.parent if spec.is_images else first
            first = first.with_name(f"{first.stem}{film_suffixes(codec)[0]}")
        names = map(str, _numbered(first, 1 if first != Path(spec.out) else 2))
        out = next(name for name in names if not _is_taken(root, name))
    elif _is_taken(root, out):
        raise FavError(f"{out}: expected a new name for the film, but the file exists")
    check_film_name(out)
    if is_image_output(out):
        check_no_codec(given)
    if codec == spec.codec and is_image_output(out) == spec.is_images:
        pixel_format, preset = pixel_format or spec.pixel_format, preset or spec.preset
        crf = spec.crf if crf is None else crf
    crf = usual_crf(codec) if crf is None else crf
    film_settings(out, codec, pixel_format=pixel_format, preset=preset, crf=crf)
    return replace(spec, out=out, codec=codec, pixel_format=pixel_format, preset=preset, crf=crf)


def _numbered(out: Path, first: int) -> Iterator[Path]:
    """Yield names of films with numbers from `first` on; 1 means no number. For images, their directory is numbered."""
    for number in itertools.count(first):
        ending = f"-{number}" if number > 1 else ""
        if is_image_output(str(out)):
            yield out.parent.with_name(f"{out.parent.name}{ending}") / out.name
        else:
            yield out.with_stem(f"{out.stem}{ending}")


def _is_taken(root: Path, out: str) -> bool:
    """Whether the name of a film exists in the shared directory; for images, whether their directory has files."""
    film = resolve_inside(root, out)
    return not is_free(film.parent) if is_image_output(out) else os.path.lexists(film)


def picture_notes(request: Request) -> tuple[str, ...]:
    """A note where the video is one picture, of which somebody may want a picture."""
    if Path(request.video).suffix.lower() not in READ_SUFFIXES:
        return ()
    return (
        f"{sanitize(request.video)} is one picture, and its film has one frame; fav stylize PICTURE STYLE OUT.png makes a picture",
    )


def stroke_notes(request: Request, source: VideoInfo, width: int) -> tuple[str, ...]:
    """A note where a film is much smaller than its video, and its strokes are not: it does not show what the large one will."""
    share = width / source.width
    if share > SMALL or "style_scale" in request.given:
        return ()
    scale = max(round(share, 2), OPTIONS["style_scale"].least or 0)
    return (
        f"the film is {1 / share:.3g} times smaller than the video, but strokes have a fixed size in pixels; --style-scale "
        f"{format_number(scale)} makes them smaller, and a test at full size (--frames) shows them as they will be",
    )


def crf_notes(crf: int | None, codec: str = DEFAULT) -> tuple[str, ...]:
    """A note if a film of this quality does not play in most players."""
    return ("--crf 0 is lossless H.264 (High 4:4:4 Predictive), which browsers and most hardware do not play",) * (
        crf == 0 and codec == DEFAULT
    )


def with_cuts(request: Request) -> tuple[Request, tuple[str, ...]]:
    """Read the cuts of a request's file, which may be a pipe and is read only here.

    Returns:
        The request with its cuts, and notes for the user.
    """
    if not request.read_cuts:
        return request, ()
    cuts = read_cuts(request.read_cuts)
    return replace(request, cuts=cuts), (
        f"{len(cuts)} cut{'s'[: len(cuts) != 1]} read from {sanitize(request.read_cuts)}",
    )


def with_chunk_length(request: Request, source: VideoInfo) -> tuple[Request, tuple[str, ...]]:
    """The request with what `--chunk auto` decides (`fav.pipeline.chunking`), and a note on it."""
    if request.chunk != AUTO_CHUNK:
        return request, ()
    from fav.pipeline.chunking import with_chunk  # of use to few jobs, and slow to import

    return with_chunk(
        request, source, network_size(film_size(source, request.width, request.scale), request.style_scale)
    )


def with_loss_network(request: Request) -> tuple[Request, tuple[str, ...]]:
    """Find the file of a request's loss network.

    Returns:
        The request with the file, and notes for the user. The file is None if the default network is not available.

    Raises:
        FavError: a network was typed and is not available.
    """
    if not request.evaluate:
        return request, ()
    from fav.perceptual.pretrained import PUBLISHED, fetched

    name = str(request.loss_network or LOSS_NETWORK)
    try:
        return replace(request, loss_network=fetched(name) if name in PUBLISHED else request.loss_network), ()
    except FavError as error:
        if request.loss_network:
            raise
        return request, (f"the film is measured without style and content loss: {error}",)


def spec_fields(request: Request, source: VideoInfo, out: Path | None = None) -> dict:
    """The fields of a job's spec that follow from the request, without the paths of its files.

    Args:
        request: the command line, with its cuts.
        source: the properties of the video.
        out: the film, if it is made without a job.

    Raises:
        FavError: the film or the network's input is too small or too large.
    """
    start, stop = request.range[0], request.last
    if request.read_cuts and request.cuts is None:
        raise ValueError("expected a request of with_cuts, got one whose cuts were not read")
    if request.chunk == AUTO_CHUNK:
        raise ValueError("expected a request of with_chunk_length, got one whose --chunk was not decided")
    cuts = request.cuts if request.read_cuts else () if request.no_cuts else None
    size = film_size(source, request.width, request.scale)
    for each, label in ((size, "film"), (network_size(size, request.style_scale), "network input")):
        check_size(each, label)
    return {
        **{name: getattr(request, name) for name in VALUE_FIELDS},
        "out": request.out,
        **_encoding_fields(request, size, out),
        **{f"{name}_hash": hash_of(getattr(request, name), name in LINKED_INPUTS) for name in INPUT_FIELDS},
        "mix_hashes": tuple(hash_of(style) for style, _ in request.mix),
        "mix_weights": tuple(weight for _, weight in request.mix),
        "video_hash": video_fingerprint(request.video),
        "start": start,
        "stop": stop,
        "cuts": cuts,
        "precision": best_precision(device_of("cpu")) if request.precision == "auto" else request.precision,
        "width": size[0],
        "height": size[1],
    }


def _encoding_fields(request: Request, size: tuple[int, int], out: Path | None) -> dict:
    """The fields of the encoder. A typed default gives the same fields as no value, so that such jobs are equal."""
    name = str(out or film_name(request))
    default = film_settings(name, request.codec, check=False)
    chosen = film_settings(name, request.codec, pixel_format=request.pixel_format, check=False)
    preset = film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, check=False)
    return {
        "pixel_format": None if chosen == default else chosen.pixel_format.removesuffix("le"),
        "preset": None if preset == chosen else request.preset,
        "crf": usual_crf(request.codec) if request.crf is None else request.crf,
        "segment_frames": _segment_frames(chosen, size),
    }


def _segment_frames(encoder: EncoderSettings, size: tuple[int, int]) -> int:
    """The maximum number of frames that one task encodes; fewer if frames are large and encoded independently."""
    if not encoder.is_intra:
        return SEGMENT_LENGTH
    frame = bytes_per_pixel(encoder) * size[0] * size[1]
    return max(min(int(MAX_SEGMENT_BYTES / frame), SEGMENT_LENGTH), MIN_SEGMENT)


def film_size(source: VideoInfo, width: int | None, scale: float | None) -> tuple[int, int]:
    """(width, height) of a film, given --width or --scale; without both, that of the video."""
    scale = scale or (width / source.width if width else 1.0)
    return width or max(round(source.width * scale), 1), max(round(source.height * scale), 1)


def settings_from_request(
    request: Request, source: VideoInfo, out: Path | None = None, threads: int | None = None
) -> tuple[StyleSettings, PostprocessSettings, int, int | None, tuple[int, ...] | None, str | None]:
    """The settings of a film that is made in this process, without a job.

    Args:
        request: the command line, with its cuts.
        source: the properties of the video.
        out: the film.
        threads: number of threads, for the film's comment.

    Returns:
        Style settings, postprocessing settings, the first frame, one past the last frame (None: the video's end), the
        cuts (None: detect them), and the film's comment.
    """
    options = spec_fields(request, source, out)
    common = {field.name for field in fields(StyleSettings)} & set(Request.__struct_fields__) - {"precision"}
    size = options["width"], options["height"]
    settings = StyleSettings(
        **{name: getattr(request, name) for name in common - {"mix"}},
        mix=tuple((style, Curve.of(weight)) for style, weight in request.mix),
        size=network_size(size, request.style_scale),
        key=options["video_hash"] + options["style_hash"],
        precision=options["precision"],
    )
    sixteen_bit = film_encoder(request, out).bits > 8
    postprocessing = PostprocessSettings(
        size,
        Curve.of(request.strength),
        request.preserve_colors,
        request.mask,
        sixteen_bit,
        Curve.of(request.mask_strength),
        request.outside is not None,
    )
    record = JobSpec(video="", style="", origin=origin_of(request), **{**options, "threads": threads, "out": str(out)})
    return settings, postprocessing, options["start"], options["stop"], options["cuts"], film_comment(record)


def _check_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[str, ...]:
    """Compare the free space with the estimate of a job.

    Returns:
        A note if the estimate does not fit.

    Raises:
        FavError: not even half of the estimate fits.
    """
    needed = film_space(share, request, source, options)
    if needed is None:
        return ()
    (frames, need), size = needed, (options["width"], options["height"])
    root, system = share.layout.root, share.system
    free = system.free_bytes(root), system.free_files(root)
    if need.fits(*free):
        return ()
    left = format_bytes(free[0]) + ("" if free[1] is None else f" and {free[1]} files")
    film = f"up to {format_bytes(need.size)} in {need.files} files for {frames} frames of {size[0]}x{size[1]}"
    if need.half.fits(*free):
        return (f"{root} may fill up: the job may take {film}, and {left} are free; nodes wait if the disk is full",)
    raise FavError(
        f"{root}: expected space for {film}, got {left}; free some space ({command('clean')} removes a job with its "
        f"frames), make a smaller film (--width, --frames), or use --no-space-check"
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
    estimate = round(source.seconds * source.rate) if source.seconds and source.rate else None
    stop = min((end for end in (options["stop"], source.frames or estimate) if end is not None), default=None)
    if stop is None:
        return None
    frames, size = max(stop - options["start"], 0), (options["width"], options["height"])
    published_flows = (
        (frames if request.keep_flow else min(frames, FLOW_AHEAD))
        if flows.is_published(request.flow, request.no_temporal, request.flow_files.is_complete(request.reverse))
        else 0
    )
    warmups = CROSSFADE * (frames // request.chunk) if request.chunk else 0
    encoder = film_encoder(request)
    need = required_space(
        (frames + warmups) * (2 if request.outside else 1),
        network_size(size, request.style_scale),
        published_flows,
        inputs=_inputs(share, request),
        film_size=size,
        film=bytes_per_pixel(encoder)
        * (1.5 if encoder.is_images else 1),  # until they are delivered, images are in an archive
    )
    return frames, need


def _inputs(share: SharedDir, request: Request) -> DiskUsage:
    """The disk usage of the inputs that are copied into the job."""
    paths = [
        *(getattr(request, name) for name in INPUT_FIELDS if name not in LINKED_INPUTS),
        *(style for style, _ in request.mix),
    ]
    files = [file for path in paths if path for file in _files_of(path)]
    for path in (Path(request.video), *(getattr(request, name) for name in LINKED_INPUTS)):
        large = _files_of(path, path != Path(request.video)) if path else []
        if large and large[0].stat().st_dev != share.layout.root.stat().st_dev:  # otherwise they are linked
            files += large
    return DiskUsage(sum(file.stat().st_size for file in files), len(files))


def _files_of(path: Path, skip_gaps: bool = False) -> list[Path]:
    """The files of an input: the file, all files of a directory (as for SPyNet), or all images of a sequence.

    `skip_gaps`: include images after missing numbers.
    """
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file()]
    return sequence_files(str(path), skip_gaps) if is_sequence(str(path)) else [path]


def _fill(
    share: SharedDir, layout: JobPaths, request: Request, options: dict, name: str, note: Callable[[str], None]
) -> dict:
    """Import the inputs into a new job's directory; return the JSON of its spec.

    Args:
        share: the shared directory.
        layout: paths of the job.
        request: the command line.
        options: of `spec_fields`.
        name: of the job.
        note: called with a message on each large input.

    Raises:
        FavError: the film's name is taken, or an input has changed meanwhile.
    """
    options = {**options, "out": request.out or _free_name(share, request, name)}
    existing = _existing_output(share, request, options["out"])
    if existing:
        reason = "directory has files" if existing.is_dir() else "file exists"
        raise FavError(f"{existing}: expected a new name for the film, but the {reason}; choose another with --out")
    imported = {
        name: _import_input(share, layout, getattr(request, name), layout.inputs / name)
        for name in INPUT_FIELDS
        if name not in LINKED_INPUTS
    }
    for name in LINKED_INPUTS:
        path = getattr(request, name)
        imported[name] = path and _import_large(share, layout, str(path), name, options[f"{name}_hash"], note)
    mix = tuple(
        _import_input(share, layout, style, layout.inputs / f"mix-{number}")
        for number, (style, _) in enumerate(request.mix, 1)
    )
    video = _import_large(share, layout, request.video, "video", options["video_hash"], note)
    provenance = provenance_of(request, share.layout.root, options["video_hash"], options["style_hash"])
    origin = origin_of(request)
    fields: dict[str, Any] = {
        **options, **imported, "mix": mix, "video": video, "provenance": provenance, "origin": origin}  # fmt: skip
    spec = JobSpec(**fields).to_json()
    checked = JobSpec.from_json(json.loads(json.dumps(spec)))  # as nodes will read it, so that they accept it
    if changed := changed_inputs(share.layout.root, checked, sequences=False):
        raise FavError(
            f"expected inputs that do not change during submission, got a change "
            f"({changed[0].partition(';')[0]}); run the same command again"
        )
    return spec


def _free_name(share: SharedDir, request: Request, job: str) -> str:
    """The name of a job's film: that of the job, with a number if such a film exists already."""
    suffix = film_suffix(request.codec, request.video)
    names = (f"{job}{'' if number == 1 else f'-{number}'}{suffix}" for number in itertools.count(1))
    return next(name for name in names if not _existing_output(share, request, name))


def _existing_output(share: SharedDir, request: Request, out: str) -> Path | None:
    """The existing file with the name of a film or of its evaluation; None if all these names are free."""
    film = resolve_inside(share.layout.root, out)
    if is_image_output(out):
        film = film.parent
    films = [] if is_image_output(out) and is_free(film) else [film]
    reports = [evaluation_name(film, suffix) for suffix in REPORTS] if request.evaluate else []
    return next((path for path in (*films, *reports) if os.path.lexists(path)), None)


def _import_input(share: SharedDir, layout: JobPaths, path: Path | None, target: Path) -> str | None:
    """Copy a file, directory or image sequence into the job; return its path relative to the shared directory."""
    if path is None:
        return None
    if path.is_dir() or is_sequence(str(path)):
        _import_files(share, layout, _files_of(path), target, _copy)
        target = target if path.is_dir() else target / path.name
    else:
        target = target.with_suffix(path.suffix)
        record_inputs(share, layout, [target])
        _copy(path, target, share.system)
    return target.relative_to(share.layout.root).as_posix()


def _import_large(
    share: SharedDir, layout: JobPaths, video: str, name: str, content: str, note: Callable[[str], None]
) -> str:
    """Make a video, or files of flow, available to all nodes.

    A file in the shared directory is used there, unless it belongs to another job. Otherwise it is linked or copied.

    Args:
        share: the shared directory.
        layout: paths of the job.
        video: path of the input.
        name: of the input.
        content: its hash; a file of another job with the same content is linked.
        note: called with a message on what was done.

    Returns:
        The path relative to the shared directory.
    """
    root, path = share.layout.root.resolve(), Path(video)
    real = path.parent.resolve() / path.name if is_sequence(video) else path.resolve()
    if real.is_relative_to(root) and not real.is_relative_to(root / share.layout.jobs.name):
        return real.relative_to(root).as_posix()
    if is_sequence(video):
        target = layout.inputs / name
        methods: set[str] = set()
        files = sequence_files(video, name in LINKED_INPUTS)
        _import_files(share, layout, files, target, lambda *paths: methods.add(_link_or_copy(*paths)))
        note(f"{len(files)} images are {' and '.join(sorted(methods))} into the job{_cost(methods, files)}")
        return (target / path.name).relative_to(share.layout.root).as_posix()
    target = layout.inputs / f"{name}{path.suffix}"
    record_inputs(share, layout, [target])
    method = _link_or_copy(path.resolve(), target, share.system, True, lambda: _find_copy(share, content, path))
    note(f"{sanitize(video)} is {method} into the job{_cost({method}, [path])}")
    return target.relative_to(share.layout.root).as_posix()


def _cost(methods: set[str], files: list[Path]) -> str:
    """The end of a message on imported files: the disk space that they take, and a warning for links."""
    if COPIED in methods:
        total = format_bytes(sum(file.stat().st_size for file in files))
        return f": {total} in {files[0].name if len(files) == 1 else 'all'}"
    if LINKED in methods:
        return ", which takes no space; do not overwrite it before the film is done (a new file in its place is safe)"
    return ", which takes no space"


def _find_copy(share: SharedDir, content: str, video: Path) -> Path | None:
    """A file of another job with exactly the content of a video, whose hash is `content`; None if there is none."""
    for job in all_jobs(share):
        spec = job.manifest.spec
        film = str(spec.get("video"))
        if spec.get("video_hash") == content and not is_sequence(film):
            with suppress(OSError, UserError):
                candidate = resolve_inside(share.layout.root, film)
                if filecmp.cmp(candidate, video, shallow=False):
                    return candidate
    return None


def _import_files(
    share: SharedDir, layout: JobPaths, files: list[Path], target: Path, put: Callable[[Path, Path, FileSystem], None]
) -> None:
    """Put files into a directory of the job's inputs, with `put`, which links or copies one file.

    Their names are recorded first, because the program removes only recorded files.
    """
    record_inputs(share, layout, [target / file.name for file in files])
    share.system.make_dirs(target)
    for file in files:
        put(file, target / file.name, share.system)


def _link_or_copy(
    source: Path,
    target: Path,
    system: FileSystem,
    clones: bool = False,
    find_copy: Callable[[], Path | None] = lambda: None,
) -> str:
    """Import a file into a job at the lowest cost: as a clone, hard link, link to an existing copy, or copy.

    A clone shares blocks with its source but, unlike a link, does not change if its source is overwritten.

    Args:
        source: the file.
        target: its new path.
        system: the file system.
        clones: try to clone; for many small files, this takes more time than it saves.
        find_copy: finds a file with the same content in the shared directory.

    Returns:
        CLONED, LINKED, FOUND or COPIED.
    """
    if clones and _cloned(source, target):
        system.sync(target)
        return CLONED
    try:
        if (
            source.stat().st_mode & system.file_mode & 0o444 == system.file_mode & 0o444
        ):  # otherwise other users could not read it
            system.link(source, target)
            return LINKED
    except OSError:
        if system.same_file(source, target):  # the link exists; only the reply was lost
            return LINKED
    if existing := find_copy():
        with suppress(OSError):
            system.link(existing, target)
            return FOUND
    _copy(source, target, system)
    return COPIED


def _cloned(source: Path, target: Path) -> bool:
    """Clone a file if the file system supports it (Btrfs, XFS and others); return whether it was cloned."""
    with exclusive(target) as file, open(source, "rb") as original, open(file, "wb") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, original.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False


def _copy(source: Path, target: Path, system: FileSystem) -> None:
    with exclusive(target) as file:
        shutil.copyfile(source, file)
    system.sync(target)


def _join(node: Node, job: Job, request: Request, wanted: JobSpec) -> SubmitResult:
    """Join an existing job: reopen its failed tasks, or repair it if it is finished.

    Raises:
        FavError: the job has another video, style or options, or was cancelled.
    """
    spec = JobSpec.from_json(job.manifest.spec)
    differing = differences(spec, wanted, replace(request, given=request.given | FILM_OPTIONS))
    if "lease" in request.given and request.lease != job.manifest.lease:
        differing["lease"] = f"--lease {format_number(job.manifest.lease)}, not --lease {format_number(request.lease)}"
    if "video" in differing or "style" in differing:
        other = " and ".join(name for name in ("video", "style") if name in differing)
        raise FavError(f"job {job.name} has another {other}; use another --name for this one")
    if differing:
        same_frames = all(name in OPTIONS and OPTIONS[name].output_only for name in differing)
        place = shlex.quote(str(job.share.layout.root))
        words = stitch_words(request, differing)
        other_film = f", or make another film of its frames: {command('stitch')} {place} {job.name} {words}".rstrip()
        raise FavError(
            f"job {job.name} exists with other options ({'; '.join(differing.values())}); use the same options to join "
            f"it, or another --name{other_film if same_frames else ''}"
        )
    if "cancelled" in job.flags():
        raise FavError(f"job {job.name} was cancelled; {command('retry')} continues it, {command('clean')} removes it")
    if "finished" in job.flags():
        return SubmitResult(job, False, tuple(repair(node, job, whole=False)))
    opened = reopen(job)
    return SubmitResult(job, False, (f"{opened} failed task(s) reopened",) if opened else ())
