"""Submit a job: check the whole command line first, then create the job, or join an existing one."""

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from msgspec.structs import replace

from fav.errors import FavError
from fav.pipeline.check_request import check_request
from fav.pipeline.check_space import check_space
from fav.pipeline.film_comment import origin_of
from fav.pipeline.film_output import check_output_directory, existing_output, free_film_name, within
from fav.pipeline.import_inputs import import_input, import_large
from fav.pipeline.inputs import changed_inputs
from fav.pipeline.job_naming import FILM_OPTIONS, default_name, find_or_name, same_output_notes
from fav.pipeline.mixture_notes import mixture_notes
from fav.pipeline.option import format_number
from fav.pipeline.projection import projection_notes
from fav.pipeline.provenance import provenance_of
from fav.pipeline.repair import repair
from fav.pipeline.request import Request, differences, stitch_words
from fav.pipeline.resolve_options import with_chunk_length, with_cuts, with_loss_network
from fav.pipeline.spec import INPUT_FIELDS, LINKED_INPUTS, OPTIONS, JobSpec
from fav.pipeline.spec_fields import spec_fields
from fav.pipeline.submit_notes import crf_notes, film_notes, hdr_notes, picture_notes, stroke_notes
from shared.attempts import reopen
from shared.command_names import command
from shared.jobs import PRIORITIES, Job, create_job, find_job, is_ended, job_name
from shared.local import lock_file
from shared.membership import Node
from shared.paths import NAMED, JobPaths, is_name
from shared.shared_dir import SharedDir

LOCK_TIMEOUT_S = 60.0


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
        source = check_request(request)
        request, chunking = with_chunk_length(request, source)
        options = spec_fields(request, source)
        wanted = JobSpec(video="", style="", **options)
        found = find_or_name(share, request, wanted)
        name, job = found.name, found.job
        created, import_notes = False, []
        if job is None:
            if found.same_frames and not (request.bit_exact or request.keep_flow):
                options["frames_of"] = found.same_frames.manifest.id
            options["notes"] = (
                *source.notes,
                *chunking,
                *film_notes(request, options),
                *crf_notes(options["crf"], options["codec"]),
                *hdr_notes(request, source),
            )
            notes += options["notes"]
            notes += (
                *picture_notes(request),
                *stroke_notes(request, source, options["width"]),
                *projection_notes(request, source),
                *mixture_notes(request),
            )
        while job is None:
            try:
                same = found.same_frames
                all_linked = share.hard_links and same is not None and same.flag_text("finished") is not None
                if not (request.no_space_check or all_linked):  # frames that are linked take no space
                    notes += check_space(share, request, source, options)
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
                found = find_or_name(share, request, wanted)
                name, job = found.name, found.job
    if created and not request.out and Path(out := job.manifest.spec["out"]).stem != name:
        notes += (f"{Path(out).with_stem(name)} exists already; this film will be {out}",)
    if created and request.out:
        notes += same_output_notes(job)
    if created and found.same_frames and not is_ended(found.same_frames):
        priority = max(found.same_frames.priority(found.same_frames.flags()) - 1, PRIORITIES.start)
        job.prioritize(node, priority)
        notes += (f"it comes after {found.same_frames.name}, whose frames it uses (priority {priority})",)
    if not created:
        return _join(node, job, request, wanted)
    return SubmitResult(job, True, (*found.notes, *notes, *import_notes))


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
    options = {**options, "out": request.out or free_film_name(share, request, name)}
    existing = existing_output(share, request, options["out"])
    if existing:
        reason = "directory has files" if existing.is_dir() else "file exists"
        raise FavError(f"{existing}: expected a new name for the film, but the {reason}; choose another with --out")
    imported = {
        name: import_input(share, layout, getattr(request, name), layout.inputs / name)
        for name in INPUT_FIELDS
        if name not in LINKED_INPUTS
    }
    for name in LINKED_INPUTS:
        path = getattr(request, name)
        imported[name] = path and import_large(share, layout, str(path), name, options[f"{name}_hash"], note)
    mix = tuple(
        import_input(share, layout, style, layout.inputs / f"mix-{number}")
        for number, (style, _) in enumerate(request.mix, 1)
    )
    video = import_large(share, layout, request.video, "video", options["video_hash"], note)
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
    return continue_job(node, job)


def continue_job(node: Node, job: Job) -> SubmitResult:
    """Continue a job that exists: reopen its failed tasks, or, if it is finished, check its results.

    Raises:
        FavError: the job was cancelled.
    """
    if "cancelled" in job.flags():
        raise FavError(f"job {job.name} was cancelled; {command('retry')} continues it, {command('clean')} removes it")
    if "finished" in job.flags():
        return SubmitResult(job, False, tuple(repair(node, job, whole=False)))
    opened = reopen(job)
    return SubmitResult(job, False, (f"{opened} failed task(s) reopened",) if opened else ())
