"""From a command line to a job: check everything first, then create the job or join the one that is there."""

import fcntl
import filecmp
import hashlib
import itertools
import json
import os
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
from fav.flow.files import suspicions
from fav.model.devices import best_precision, device_of
from fav.model.interpolation import load_mixture
from fav.model.onnx_style import load_image_model
from fav.pipeline.arguments import check_arguments
from fav.pipeline.artifacts import check_output_directory
from fav.pipeline.delivery import evaluation_name, is_free
from fav.pipeline.disk_space import DiskUsage, required_space
from fav.pipeline.inputs import changed_inputs
from fav.pipeline.job_naming import FILM_OPTIONS, default_name, find_or_name
from fav.pipeline.provenance import provenance_of
from fav.pipeline.repair import repair
from fav.pipeline.request import Request, differences
from fav.pipeline.spec import (
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
from fav.stylize.postprocess import check_mask
from fav.stylize.settings import CROSSFADE, SEGMENT_LENGTH, PostprocessSettings, StyleSettings, network_size
from fav.util.atomic import exclusive
from fav.util.fingerprint import check_alike, hash_of, video_fingerprint
from fav.util.image_sequence import check_whole, is_image_output, is_sequence, sequence_files
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
from shared.jobs import Job, all_jobs, create_job, find_job
from shared.local import lock_file
from shared.membership import Node
from shared.ownership import record_inputs
from shared.paths import NAMED, JobPaths, is_name
from shared.shared_dir import SharedDir

LOCK_TIMEOUT_S = 60.0
FICLONE = 0x40049409  # of Linux' ioctl: share the blocks of another file
CLONED, LINKED, COPIED, FOUND = "cloned", "linked", "copied", "linked from a job that has the same video"
MOST_NOTES, NOTE_LENGTH = 20, 500
SEGMENT_BYTES, LEAST_SEGMENT = 256 << 20, 3  # of a segment whose frames are large; its frames
LEAST_SIDE = 8  # pixels of a film that is made smaller


@dataclass(frozen=True)
class SubmitResult:
    """A job, and whether this request created it; `notes` are for the user."""

    job: Job
    created: bool
    notes: tuple[str, ...] = ()


def submit(node: Node, request: Request) -> SubmitResult:
    """Create the job, or join it; FavError in one line if anything is wrong, before any work starts.

    Of a job that is finished every result is looked at: how far that is, is logged.
    """
    share = node.share
    request = replace(request, out=within(share.layout.root, request.out))
    request.check()
    base = default_name(request)
    if not is_name(base):
        raise FavError(f"--name: expected {NAMED}, and not '-', '.' or '_' first, got {base[:200]!r}")
    if request.out:
        check_output_directory(share, request.out)
    request, cuts_read = with_cuts(request)
    request, notes = with_loss_network(request)
    notes += cuts_read
    with _submit_lock(share, base):
        source = check(request)
        options = spec_fields(request, source)
        wanted = JobSpec(video="", style="", **options)
        name, job, others = find_or_name(share, request, wanted)
        created, bringing = False, []
        if job is None:
            options["notes"] = (
                *source.notes,
                *film_notes(request, options),
                *crf_notes(options["crf"], options["codec"]),
            )
            notes += options["notes"]
        while job is None:
            try:
                notes += () if request.no_space_check else _check_space(share, request, source, options)
                job, created = create_job(
                    node,
                    name,
                    request.lease,
                    lambda layout: _fill(share, layout, request, options, name, bringing.append),
                )
            except FavError:
                if find_job(share, name) is None:  # else others have made it meanwhile, and its film may be there
                    raise
            if not created:  # others were first
                name, job, others = find_or_name(share, request, wanted)
    if created and not request.out and Path(out := job.manifest.spec["out"]).stem != name:
        notes += (f"{Path(out).with_stem(name)} exists already; this film will be {out}",)
    if not created:
        return _join(node, job, request, wanted)
    return SubmitResult(job, True, (*others, *notes, *bringing))


@contextmanager
def _submit_lock(share: SharedDir, name: str) -> Iterator[None]:
    """Ten nodes started on this host at once would copy the video ten times. It saves work, no more: one that stands
    still while it has the turn keeps the others waiting for `LOCK_TIMEOUT_S` only."""
    path = lock_file(hashlib.blake2b(os.fsencode(share.layout.root / name), digest_size=8).hexdigest())
    lock = FileLock(path, timeout=LOCK_TIMEOUT_S) if path else None
    with suppress(Timeout, OSError, NotImplementedError):  # odd files under its name, a file system without locks
        if lock:
            lock.acquire()
    try:
        yield
    finally:
        if lock and path:
            with suppress(OSError):
                if lock.is_locked:
                    path.unlink()  # who waits for it, and who comes now, may both go on: it saves work, no more
            with suppress(OSError):
                lock.release()


def check(request: Request, out: Path | None = None) -> VideoInfo:
    """Look at every input; returns what the video is. FavError where one is not as it should be.

    `out` is the film, where it is made without a job.
    """
    check_arguments(request.video, request.style)
    film_encoder(request, out)
    files = request.flow_files
    for images, stop in ((request.video, request.last), (str(request.mask or ""), None)):
        if is_sequence(images):
            check_whole(images, stop)
    source = probe(request.video, request.source)
    flow_files = (str(path or "") for path in (files.backward, files.forward, files.reliability))
    for images in (request.video, str(request.mask or ""), *flow_files):
        if is_sequence(images):
            check_alike(images)
    load_mixture(request.style, request.mix, temporal=not request.no_temporal)
    if request.first_frame_style:
        load_image_model(request.first_frame_style)
    if request.init_frame:
        read_image(request.init_frame)
    if request.mask:
        check_mask(request.mask, request.video, request.source)
    if request.evaluate:
        from fav.evaluation.perceptual_metrics import (  # of no use to most jobs, and slow to import
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
            raise FavError(f"--out: expected a name of letters that a terminal shows, got {request.out!r}")
    flows.check(request.flow, request.flow_weights)
    _check_flow_files(request, source)
    if request.scale and min(source.width, source.height) * request.scale < LEAST_SIDE <= source.width:
        raise FavError(
            f"--scale: expected a film of at least {LEAST_SIDE} pixels a side, got {source.width * request.scale:.0f}x"
            f"{source.height * request.scale:.0f} of {source.width}x{source.height}"
        )
    start = request.range[0]
    if start and not reaches(source, start, request.source):
        known = f" ({source.frames})" if source.frames is not None else ""
        raise FavError(f"--range: expected a START below the number of frames of {request.video}{known}, got {start}")
    return source


FLOW_CHECKED = 24  # frames, from the first, among which a few are compared with their neighbours


def _check_flow_files(request: Request, source: VideoInfo) -> None:
    """FavError where files of flow are missing, of another size, or explain the frames clearly better if read otherwise."""
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
        seen = {
            frame.number: frame.image() for frame in islice(decoding, start, min(frames.stop, start + FLOW_CHECKED))
        }
    if seen and (doubt := suspicions(files, _some(seen))):
        raise FavError(f"{doubt}; --flow-unchecked takes them as they are")


def _some(frames: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The first three neighbours, three in the middle, and the last three."""
    first, last = min(frames), max(frames)
    middle = (first + last) // 2
    near = {number + step for number in (first + 1, middle, last - 1) for step in (-1, 0, 1)}
    return {number: frames[number] for number in sorted(near & frames.keys())}


@overload
def within(root: Path, out: str) -> str: ...
@overload
def within(root: Path, out: str | None) -> str | None: ...
def within(root: Path, out: str | None) -> str | None:
    """The film's name relative to the shared directory, also where it was given with the way there."""
    if out is None or not Path(out).is_absolute():
        return out
    place = Path(out).parent.resolve() / Path(out).name
    return place.relative_to(root.resolve()).as_posix() if place.is_relative_to(root.resolve()) else out


def film_name(request: Request) -> str:
    """The film's name, or one with its ending, where the job gives the name."""
    return request.out or f"film{film_suffix(request.codec, request.video)}"


def film_encoder(request: Request, out: Path | str | None = None) -> EncoderSettings:
    """How the film is encoded, which is called `out` where it is made without a job.

    FavError where codec, format, preset, quality and the film's name do not go together, or the FFmpeg here lacks the encoder.
    """
    name = str(out or film_name(request))
    check_film_name(name)
    if is_image_output(name):
        check_no_codec(request.given)
    return film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, crf=request.crf)


def film_notes(request: Request, options: dict) -> tuple[str, ...]:
    """What of a video is not in its film as it was; FavError where the film could not be written at all."""
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
    return tuple(sanitize(note, NOTE_LENGTH) for note in notes[:MOST_NOTES])


def another_film(
    spec: JobSpec,
    root: Path,
    out: str | None,
    codec: str | None = None,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
) -> JobSpec:
    """The record of another film of the same frames: what is None is as in the job, as far as that goes with the rest.

    FavError where it does not go together, or the film's name, relative to the shared directory `root`, is taken.
    """
    given = {name: value for name, value in (("codec", codec), ("preset", preset), ("crf", crf)) if value is not None}
    codec = codec or spec.codec
    if out is None:
        first = Path(spec.out)
        if given.get("codec") and (spec.is_images or first.suffix.lower() not in film_suffixes(codec)):
            first = first.parent if spec.is_images else first
            first = first.with_name(f"{first.stem}{film_suffixes(codec)[0]}")
        names = map(str, _numbered(first, 1 if first != Path(spec.out) else 2))
        out = next(name for name in names if not _taken_name(root, name))
    elif _taken_name(root, out):
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
    """The name of a film, and with numbers from `first` on, of which 1 is none; of images, those of their directory."""
    for number in itertools.count(first):
        end = f"-{number}" if number > 1 else ""
        if is_image_output(str(out)):
            yield out.parent.with_name(f"{out.parent.name}{end}") / out.name
        else:
            yield out.with_stem(f"{out.stem}{end}")


def _taken_name(root: Path, out: str) -> bool:
    """Whether something has the name of a film in the shared directory; of images, whether something is in their directory."""
    film = resolve_inside(root, out)
    return not is_free(film.parent) if is_image_output(out) else os.path.lexists(film)


def crf_notes(crf: int | None, codec: str = DEFAULT) -> tuple[str, ...]:
    """A note where a quality has a price that nobody expects."""
    return ("--crf 0 is lossless H.264 (High 4:4:4 Predictive), which browsers and most hardware do not play",) * (
        crf == 0 and codec == DEFAULT
    )


def with_cuts(request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request with the cuts of its file, which is read here and nowhere else, since it may be a pipe; and a note on them."""
    if not request.read_cuts:
        return request, ()
    cuts = read_cuts(request.read_cuts)
    return replace(request, cuts=cuts), (
        f"{len(cuts)} cut{'s'[: len(cuts) != 1]} read from {sanitize(request.read_cuts)}",
    )


def with_loss_network(request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request with the file of its loss network, None where the one that nobody asked for is not at hand, and notes.

    FavError where one was asked for and is not at hand.
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
    """The fields of the spec that follow from the request and what the video is; `out` is a film without a job."""
    start, stop = request.range[0], request.last
    if request.read_cuts and request.cuts is None:
        raise ValueError("expected a request whose cuts are read (with_cuts)")
    cuts = request.cuts if request.read_cuts else () if request.no_cuts else None
    size = film_size(source, request.width, request.scale)
    for each, what in ((size, "film"), (network_size(size, request.style_scale), "picture for the network")):
        check_size(each, what)
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
    """The fields that say how the film is encoded: the same ones for a usual value as for none, so that such jobs are alike."""
    name = str(out or film_name(request))
    usual = film_settings(name, request.codec, check=False)
    chosen = film_settings(name, request.codec, pixel_format=request.pixel_format, check=False)
    preset = film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, check=False)
    return {
        "pixel_format": None if chosen == usual else chosen.pixel_format.removesuffix("le"),
        "preset": None if preset == chosen else request.preset,
        "crf": usual_crf(request.codec) if request.crf is None else request.crf,
        "segment_frames": _segment_frames(chosen, size),
    }


def _segment_frames(encoder: EncoderSettings, size: tuple[int, int]) -> int:
    """How many frames are encoded as one task: as many as the memory of a node holds, where each is encoded by itself."""
    if not encoder.is_intra:
        return SEGMENT_LENGTH
    frame = bytes_per_pixel(encoder) * size[0] * size[1]
    return max(min(int(SEGMENT_BYTES / frame), SEGMENT_LENGTH), LEAST_SEGMENT)


def film_size(source: VideoInfo, width: int | None, scale: float | None) -> tuple[int, int]:
    """(width, height) of a film by its --width or --scale."""
    scale = scale or (width / source.width if width else 1.0)
    return width or max(round(source.width * scale), 1), max(round(source.height * scale), 1)


def settings_from_request(
    request: Request, source: VideoInfo, out: Path | None = None
) -> tuple[StyleSettings, PostprocessSettings, int, int | None, tuple[int, ...] | None]:
    """The look and finish of a film `out` that is made in this process, its first frame, the one after its last, and its cuts."""
    options = spec_fields(request, source, out)
    alike = {field.name for field in fields(StyleSettings)} & set(Request.__struct_fields__) - {"precision"}
    size = options["width"], options["height"]
    settings = StyleSettings(
        **{name: getattr(request, name) for name in alike},
        size=network_size(size, request.style_scale),
        key=options["video_hash"] + options["style_hash"],
        precision=options["precision"],
    )
    sixteen_bit = film_encoder(request, out).bits > 8
    finish = PostprocessSettings(size, request.strength, request.preserve_colors, request.mask, sixteen_bit)
    return settings, finish, options["start"], options["stop"], options["cuts"]


def _check_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[str, ...]:
    """A word where room is tight; FavError where half of what the film may take does not fit."""
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
        return (
            f"room is tight in {root}: the job may take {film}, and {left} are free; where it fills up, nodes wait for room",
        )
    raise FavError(
        f"{root}: expected room for {film}, got {left}; make room ({command('clean')} removes a job with its "
        f"frames), make a smaller film (--width, --frames), or give --no-space-check"
    )


def film_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[int, DiskUsage] | None:
    """How many frames a film has, and what it takes on the share until it is done; None where nobody knows how long it is.

    `options` are those of `spec_fields`.
    """
    guess = round(source.seconds * source.rate) if source.seconds and source.rate else None
    stop = min((end for end in (options["stop"], source.frames or guess) if end is not None), default=None)
    if stop is None:
        return None
    frames, size = max(stop - options["start"], 0), (options["width"], options["height"])
    travelling = (
        (frames if request.keep_flow else min(frames, FLOW_AHEAD))
        if flows.is_published(request.flow, request.no_temporal, request.flow_files.whole(request.reverse))
        else 0
    )
    leads = CROSSFADE * (frames // request.chunk) if request.chunk else 0
    encoder = film_encoder(request)
    need = required_space(
        frames + leads,
        network_size(size, request.style_scale),
        travelling,
        inputs=_inputs(share, request),
        film_size=size,
        film=bytes_per_pixel(encoder)
        * (1.5 if encoder.is_images else 1),  # images are in a tar until they are delivered
    )
    return frames, need


def _inputs(share: SharedDir, request: Request) -> DiskUsage:
    """What is copied into the job."""
    paths = [
        *(getattr(request, name) for name in INPUT_FIELDS if name not in LINKED_INPUTS),
        *(style for style, _ in request.mix),
    ]
    files = [file for path in paths if path for file in _files_of(path)]
    for path in (Path(request.video), *(getattr(request, name) for name in LINKED_INPUTS)):
        some = _files_of(path, path != Path(request.video)) if path else []
        if some and some[0].stat().st_dev != share.layout.root.stat().st_dev:  # else they are there, or linked
            files += some
    return DiskUsage(sum(file.stat().st_size for file in files), len(files))


def _files_of(path: Path, behind_gaps: bool = False) -> list[Path]:
    """The files of an input: itself, all of a directory (SPyNet's six), or all images of a numbered sequence (a mask's)."""
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file()]
    return sequence_files(str(path), behind_gaps) if is_sequence(str(path)) else [path]


def _fill(
    share: SharedDir, layout: JobPaths, request: Request, options: dict, name: str, say: Callable[[str], None]
) -> dict:
    """Bring the inputs into the job's directory; the spec. `say` is told where the video is now."""
    options = {**options, "out": request.out or _free_name(share, request, name)}
    taken = _taken(share, request, options["out"])
    if taken:
        what = "directory has files" if taken.is_dir() else "file exists"
        raise FavError(f"{taken}: expected a new name for the film, but the {what}; choose another with --out")
    brought = {
        name: _import_input(share, layout, getattr(request, name), layout.inputs / name)
        for name in INPUT_FIELDS
        if name not in LINKED_INPUTS
    }
    for name in LINKED_INPUTS:
        path = getattr(request, name)
        brought[name] = path and _bring_large(share, layout, str(path), name, options[f"{name}_hash"], say)
    mix = tuple(
        _import_input(share, layout, style, layout.inputs / f"mix-{number}")
        for number, (style, _) in enumerate(request.mix, 1)
    )
    video = _bring_large(share, layout, request.video, "video", options["video_hash"], say)
    origin = provenance_of(request, share.layout.root)
    fields: dict[str, Any] = {**options, **brought, "mix": mix, "video": video, "provenance": origin}
    spec = JobSpec(**fields).to_json()
    checked = JobSpec.from_json(json.loads(json.dumps(spec)))  # as a node will read it: what it refuses makes no job
    if wrong := changed_inputs(share.layout.root, checked, sequences=False):
        raise FavError(
            f"expected inputs that stay as they are while the job is made of them, got a change "
            f"({wrong[0].partition(';')[0]}); the same line again makes the job"
        )
    return spec


def _free_name(share: SharedDir, request: Request, job: str) -> str:
    """Return the name of the job's film: that of the job, with a number where such a film is there already."""
    suffix = film_suffix(request.codec, request.video)
    names = (f"{job}{'' if number == 1 else f'-{number}'}{suffix}" for number in itertools.count(1))
    return next(name for name in names if not _taken(share, request, name))


def _taken(share: SharedDir, request: Request, out: str) -> Path | None:
    """Return the file that has the name of a film, or of its evaluation; None where all these names are free."""
    film = resolve_inside(share.layout.root, out)
    if is_image_output(out):
        film = film.parent
    films = [] if is_image_output(out) and is_free(film) else [film]
    reports = [evaluation_name(film, suffix) for suffix in REPORTS] if request.evaluate else []
    return next((path for path in (*films, *reports) if os.path.lexists(path)), None)


def _import_input(share: SharedDir, layout: JobPaths, path: Path | None, target: Path) -> str | None:
    """Copy a file (or SPyNet's directory, or a mask's images) into the job; its path relative to the shared directory."""
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


def _bring_large(
    share: SharedDir, layout: JobPaths, video: str, name: str, content: str, say: Callable[[str], None]
) -> str:
    """Where all nodes read the video, or files of flow: where it is, if that is shared; else linked or copied into the job.
    One that is another job's is linked: it goes with that job.

    `content` is its fingerprint: what another job has already is linked. `say` is told what was done.
    """
    root, path = share.layout.root.resolve(), Path(video)
    real = path.parent.resolve() / path.name if is_sequence(video) else path.resolve()
    if real.is_relative_to(root) and not real.is_relative_to(root / share.layout.jobs.name):
        return real.relative_to(root).as_posix()
    if is_sequence(video):
        target = layout.inputs / name
        ways: set[str] = set()
        files = sequence_files(video, name in LINKED_INPUTS)
        _import_files(share, layout, files, target, lambda *paths: ways.add(_link_or_copy(*paths)))
        say(f"{len(files)} images are {' and '.join(sorted(ways))} into the job{_cost(ways, files)}")
        return (target / path.name).relative_to(share.layout.root).as_posix()
    target = layout.inputs / f"{name}{path.suffix}"
    record_inputs(share, layout, [target])
    way = _link_or_copy(path.resolve(), target, share.system, True, lambda: _in_share(share, content, path))
    say(f"{sanitize(video)} is {way} into the job{_cost({way}, [path])}")
    return target.relative_to(share.layout.root).as_posix()


def _cost(ways: set[str], files: list[Path]) -> str:
    """In words, the room that bringing files took, and what to heed."""
    if COPIED in ways:
        return f": {format_bytes(sum(file.stat().st_size for file in files))} in {files[0].name if len(files) == 1 else 'all'}"
    if LINKED in ways:
        return ", which takes no space; do not overwrite it before the film is done (a new file in its place is safe)"
    return ", which takes no space"


def _in_share(share: SharedDir, content: str, video: Path) -> Path | None:
    """A file of another job with a video's content; None where there is none, or it is not quite the same."""
    for job in all_jobs(share):
        spec = job.manifest.spec
        film = str(spec.get("video"))
        if spec.get("video_hash") == content and not is_sequence(film):
            with suppress(OSError, UserError):
                there = resolve_inside(share.layout.root, film)
                if filecmp.cmp(there, video, shallow=False):
                    return there
    return None


def _import_files(
    share: SharedDir, layout: JobPaths, files: list[Path], target: Path, put: Callable[[Path, Path, FileSystem], None]
) -> None:
    """Put files into a directory of the job's inputs. They are noted first: what is not on the list is not swept."""
    record_inputs(share, layout, [target / file.name for file in files])
    share.system.make_dirs(target)
    for file in files:
        put(file, target / file.name, share.system)


def _link_or_copy(
    source: Path,
    target: Path,
    system: FileSystem,
    clones: bool = False,
    alike: Callable[[], Path | None] = lambda: None,
) -> str:
    """Bring a file into a job at the least cost; in a word, how. `alike` finds the same content in the shared directory.

    A clone shares its blocks and yet does not change when its source is written over, as a link does. One of each of many
    small files would cost more than it saves.
    """
    if clones and _cloned(source, target):
        system.sync(target)
        return CLONED
    try:
        if (
            source.stat().st_mode & system.file_mode & 0o444 == system.file_mode & 0o444
        ):  # else colleagues could not read it
            system.link(source, target)
            return LINKED
    except OSError:
        if system.same_file(source, target):  # only the reply was lost
            return LINKED
    if there := alike():
        with suppress(OSError):
            system.link(there, target)
            return FOUND
    _copy(source, target, system)
    return COPIED


def _cloned(source: Path, target: Path) -> bool:
    """Make a clone of a file where the file system can (Btrfs, XFS and others)."""
    with exclusive(target) as file, open(source, "rb") as whole, open(file, "wb") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, whole.fileno())
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
    """The job that is there, if it is the one that was asked for; the same line again opens failed tasks anew, and repairs a
    job that is finished."""
    spec = JobSpec.from_json(job.manifest.spec)
    differing = differences(spec, wanted, replace(request, given=request.given | FILM_OPTIONS))
    if "lease" in request.given and request.lease != job.manifest.lease:
        differing["lease"] = f"--lease {format_number(job.manifest.lease)}, not --lease {format_number(request.lease)}"
    if "video" in differing or "style" in differing:
        other = " and ".join(name for name in ("video", "style") if name in differing)
        raise FavError(f"job {job.name} is of another {other}; give this one another --name")
    if differing:
        same_frames = all(name in OPTIONS and OPTIONS[name].output_only for name in differing)
        other_film = f", or make another film of its frames: {command('stitch')} {job.share.layout.root} {job.name}"
        raise FavError(
            f"job {job.name} exists with other options ({'; '.join(differing.values())}); give the same options to join "
            f"it, or give this one another --name{other_film if same_frames else ''}"
        )
    if "cancelled" in job.flags():
        raise FavError(f"job {job.name} was cancelled; {command('retry')} continues it, {command('clean')} removes it")
    if "finished" in job.flags():
        return SubmitResult(job, False, tuple(repair(node, job, whole=False)))
    opened = reopen(job)
    return SubmitResult(job, False, (f"{opened} failed task(s) reopened",) if opened else ())
