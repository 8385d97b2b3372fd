"""From a command line to a job: check everything first, then create the job or join the one that is there."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout
from msgspec.structs import replace

from fav import flow as flows
from fav.errors import FavError, sanitize
from fav.model.checkpoints import load_style
from fav.model.devices import best_precision, device_of
from fav.model.interpolation import load_mixture
from fav.pipeline.artifacts import check_output_directory
from fav.pipeline.delivery import evaluation_name
from fav.pipeline.disk_space import DiskUsage, required_space
from fav.pipeline.inputs import changed_inputs
from fav.pipeline.repair import repair
from fav.pipeline.request import Request, differences
from fav.pipeline.spec import (
    INPUT_FIELDS,
    LAST_FRAME,
    LOSS_NETWORK,
    OPTIONS,
    VALUE_FIELDS,
    JobSpec,
    check_size,
    format_number,
)
from fav.pipeline.task_names import FLOW_AHEAD, REPORTS
from fav.stylize.postprocess import check_mask
from fav.stylize.settings import CROSSFADE, PostprocessSettings, StyleSettings, network_size
from fav.util.atomic import exclusive
from fav.util.fingerprint import check_alike, hash_of, video_fingerprint
from fav.util.image_sequence import is_sequence, sequence_files
from fav.util.images import read_image
from fav.util.safe_path import resolve_inside
from fav.util.text import format_bytes
from fav.video import VideoInfo, check_film_name, probe, reaches
from fav.video.shot_detection import read_cuts
from shared.attempts import reopen
from shared.command_names import command
from shared.filesystem import FileSystem
from shared.jobs import NAME, Job, create_job, find_job, job_name
from shared.local import lock_file
from shared.membership import Node
from shared.ownership import record_inputs
from shared.paths import JobPaths
from shared.shared_dir import SharedDir

LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class SubmitResult:
    """A job, and whether this request created it; `notes` are for the user."""

    job: Job
    created: bool
    notes: tuple[str, ...] = ()


def submit(node: Node, request: Request, say: Callable[[str], None] = lambda line: None) -> SubmitResult:
    """Create the job, or join it; FavError in one line if anything is wrong, before any work starts.

    Of a job that is finished everything is read back, which may take long: `say` is told how far that is.
    """
    request.check()
    share = node.share
    name = request.name or job_name(Path(request.video).stem.replace("%", ""), Path(request.style).stem)
    if not NAME.fullmatch(name):
        raise FavError(
            f"--name: expected letters, digits, '.', '_' and '-', at most 151 and not '-', '.' or '_' first, "
            f"got {name[:200]!r}"
        )
    if request.out:
        check_output_directory(share, request.out)
    request, cuts_read = with_cuts(request)
    request, notes = with_loss_network(request)
    notes += cuts_read
    with _submit_lock(share, name):
        source = check(request)
        job, created = find_job(share, name), False
        if job is None:
            options = spec_fields(request, source)
            try:
                notes += () if request.no_space_check else _check_space(share, request, source, options)
                job, created = create_job(
                    node, name, request.lease, lambda layout: _fill(share, layout, request, options, name)
                )
            except FavError:
                if (
                    job := find_job(share, name)
                ) is None:  # else others have made it meanwhile, and its film may be there
                    raise
    return SubmitResult(job, True, notes) if created else _join(node, job, request, source, say)


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
        if lock:
            with suppress(OSError):
                if lock.is_locked:
                    path.unlink()  # who waits for it, and who comes now, may both go on: it saves work, no more
            with suppress(OSError):
                lock.release()


def check(request: Request) -> VideoInfo:
    """Look at every input; returns what the video is. FavError where one is not as it should be."""
    source = probe(request.video, fps=request.fps)
    for images in (request.video, str(request.mask or "")):
        if is_sequence(images):
            check_alike(images)
    load_mixture(request.style, request.mix)
    if request.first_frame_style:
        load_style(request.first_frame_style, in_channels=3)
    if request.init_frame:
        read_image(request.init_frame)
    if request.mask:
        check_mask(request.mask, request.video, request.fps)
    if request.evaluate:
        from fav.evaluation.perceptual_metrics import (  # of no use to most jobs, and slow to import
            losses_of,
            style_image_of,
        )

        losses_of(request.evaluate, str(request.loss_network)) if request.loss_network else style_image_of(
            request.evaluate
        )
    if request.cuts and source.frames is not None and request.cuts[-1] >= source.frames:
        raise FavError(
            f"{request.read_cuts}: expected frame numbers below {source.frames}, the number of frames, "
            f"got {request.cuts[-1]}"
        )
    if request.out:
        check_film_name(request.out)
        if not request.out.isprintable():
            raise FavError(f"--out: expected a name of letters that a terminal shows, got {request.out!r}")
    flows.check(request.flow, request.flow_weights)
    start = request.range[0]
    if start and not reaches(source, start, request.fps):
        known = f" ({source.frames})" if source.frames is not None else ""
        raise FavError(f"--range: expected a START below the number of frames of {request.video}{known}, got {start}")
    return source


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


def spec_fields(request: Request, source: VideoInfo) -> dict:
    """The fields of the spec that follow from the request and what the video is."""
    start, stop = request.range
    if request.frames is not None:
        stop = min(start + request.frames, stop or LAST_FRAME + 1)
    scale = request.scale or (request.width / source.width if request.width else 1.0)
    if request.read_cuts and request.cuts is None:
        raise ValueError("expected a request whose cuts are read (with_cuts)")
    cuts = request.cuts if request.read_cuts else () if request.no_cuts else None
    size = request.width or max(round(source.width * scale), 1), max(round(source.height * scale), 1)
    for each, what in ((size, "film"), (network_size(size, request.style_scale), "picture for the network")):
        check_size(each, what)
    return {
        **{name: getattr(request, name) for name in VALUE_FIELDS},
        "out": request.out,
        **{f"{name}_hash": hash_of(getattr(request, name)) for name in INPUT_FIELDS},
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


def settings_from_request(
    request: Request, source: VideoInfo
) -> tuple[StyleSettings, PostprocessSettings, int, int | None, tuple[int, ...] | None]:
    """The look and finish of a film that is made in this process, its first frame, the one after its last, and its cuts."""
    options = spec_fields(request, source)
    alike = {field.name for field in fields(StyleSettings)} & set(Request.__struct_fields__) - {"precision"}
    size = options["width"], options["height"]
    settings = StyleSettings(
        **{name: getattr(request, name) for name in alike},
        size=network_size(size, request.style_scale),
        key=options["video_hash"] + options["style_hash"],
        precision=options["precision"],
    )
    finish = PostprocessSettings(size, request.strength, request.preserve_colors, request.mask)
    return settings, finish, options["start"], options["stop"], options["cuts"]


def _check_space(share: SharedDir, request: Request, source: VideoInfo, options: dict) -> tuple[str, ...]:
    """A word where room is tight; FavError where half of what the film may take does not fit."""
    guess = round(source.seconds * source.rate) if source.seconds and source.rate else None
    stop = min((end for end in (options["stop"], source.frames or guess) if end is not None), default=None)
    if stop is None:
        return ()  # nobody knows how long it is
    frames, size = max(stop - options["start"], 0), (options["width"], options["height"])
    travelling = (
        (frames if request.keep_flow else min(frames, FLOW_AHEAD))
        if flows.is_published(request.flow, request.no_temporal)
        else 0
    )
    leads = CROSSFADE * (frames // request.chunk) if request.chunk else 0
    need = required_space(
        frames + leads, network_size(size, request.style_scale), travelling, request.crf, _inputs(share, request), size
    )
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


def _inputs(share: SharedDir, request: Request) -> DiskUsage:
    """What is copied into the job."""
    paths = [*(getattr(request, name) for name in INPUT_FIELDS), *(style for style, _ in request.mix)]
    files = [file for path in paths if path for file in _files_of(path)]
    videos = sequence_files(request.video) if is_sequence(request.video) else [Path(request.video)]
    if videos[0].stat().st_dev != share.layout.root.stat().st_dev:  # else it is there, or linked
        files += videos
    return DiskUsage(sum(file.stat().st_size for file in files), len(files))


def _files_of(path: Path) -> list[Path]:
    """The files of an input: itself, all of a directory (SPyNet's six), or all images of a numbered sequence (a mask's)."""
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file()]
    return sequence_files(str(path)) if is_sequence(str(path)) else [path]


def _fill(share: SharedDir, layout: JobPaths, request: Request, options: dict, name: str) -> dict:
    """Bring the inputs into the job's directory; the spec."""
    options = dict(options)
    options["out"] = request.out or f"{name}{'.mkv' if Path(request.video).suffix == '.mkv' else '.mp4'}"
    out = resolve_inside(share.layout.root, options["out"])
    if os.path.lexists(out):
        raise FavError(f"{out}: expected a new name for the film, but the file exists; choose another with --out")
    for report in (evaluation_name(out, suffix) for suffix in REPORTS if request.evaluate):
        if os.path.lexists(report):
            raise FavError(
                f"{report}: expected a new name for the evaluation, but the file exists; choose another with --out"
            )
    brought = {
        name: _import_input(share, layout, getattr(request, name), layout.inputs / name) for name in INPUT_FIELDS
    }
    mix = tuple(
        _import_input(share, layout, style, layout.inputs / f"mix-{number}")
        for number, (style, _) in enumerate(request.mix, 1)
    )
    spec = JobSpec(**options, **brought, mix=mix, video=_import_video(share, layout, request.video)).to_json()
    checked = JobSpec.from_json(json.loads(json.dumps(spec)))  # as a node will read it: what it refuses makes no job
    if wrong := changed_inputs(share.layout.root, checked, sequences=False):
        raise FavError(
            f"expected inputs that stay as they are while the job is made of them, got a change "
            f"({wrong[0].partition(';')[0]}); the same line again makes the job"
        )
    return spec


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


def _import_video(share: SharedDir, layout: JobPaths, video: str) -> str:
    """Where all nodes read the video: where it is, if that is shared; else linked or copied into the job."""
    root, path = share.layout.root.resolve(), Path(video)
    real = path.parent.resolve() / path.name if is_sequence(video) else path.resolve()
    if real.is_relative_to(root):
        return real.relative_to(root).as_posix()
    if is_sequence(video):
        target = layout.inputs / "video"
        _import_files(share, layout, sequence_files(video), target, _link_or_copy)
        return (target / path.name).relative_to(share.layout.root).as_posix()
    target = layout.inputs / f"video{path.suffix}"
    record_inputs(share, layout, [target])
    _link_or_copy(path.resolve(), target, share.system)
    return target.relative_to(share.layout.root).as_posix()


def _import_files(
    share: SharedDir, layout: JobPaths, files: list[Path], target: Path, put: Callable[[Path, Path, FileSystem], None]
) -> None:
    """Put files into a directory of the job's inputs. They are noted first: what is not on the list is not swept."""
    record_inputs(share, layout, [target / file.name for file in files])
    share.system.make_dirs(target)
    for file in files:
        put(file, target / file.name, share.system)


def _link_or_copy(source: Path, target: Path, system: FileSystem) -> None:
    try:
        if (
            source.stat().st_mode & system.file_mode & 0o444 == system.file_mode & 0o444
        ):  # else colleagues could not read it
            system.link(source, target)
            return
    except OSError:
        if system.same_file(source, target):  # only the reply was lost
            return
    _copy(source, target, system)


def _copy(source: Path, target: Path, system: FileSystem) -> None:
    with exclusive(target) as file:
        shutil.copyfile(source, file)
    system.sync(target)


def _join(node: Node, job: Job, request: Request, source: VideoInfo, say: Callable[[str], None]) -> SubmitResult:
    """The job that is there, if it is the one that was asked for; the same line again opens failed tasks anew, and repairs a
    job that is finished."""
    wanted = JobSpec(video="", style="", **spec_fields(request, source))
    differing = differences(JobSpec.from_json(job.manifest.spec), wanted, request)
    if "lease" in request.given and request.lease != job.manifest.lease:
        differing["lease"] = f"--lease {format_number(job.manifest.lease)}, not --lease {format_number(request.lease)}"
    if differing:
        same_frames = all(name in OPTIONS and OPTIONS[name].output_only for name in differing)
        other_film = f", or make another film of its frames: {command('stitch')} {job.share.layout.root} {job.name}"
        raise FavError(
            f"job {job.name} exists with other options ({'; '.join(differing.values())}); leave these options out to "
            f"join it, or give this one another --name{other_film if same_frames else ''}"
        )
    if "cancelled" in job.flags():
        raise FavError(f"job {job.name} was cancelled; {command('retry')} continues it, {command('clean')} removes it")
    if "finished" in job.flags():
        return SubmitResult(job, False, tuple(repair(node, job, say)))
    opened = reopen(job)
    return SubmitResult(job, False, (f"{opened} failed task(s) opened anew",) if opened else ())
