"""Submit a job that writes the optical flow of a video to files: check everything first, then create it or join it."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

from fav import flow as flows
from fav.errors import FavError, sanitize
from fav.pipeline.check_space import compare_space, frames_of
from fav.pipeline.delivery import is_free
from fav.pipeline.disk_space import DiskUsage
from fav.pipeline.film_output import check_output_directory, film_size, within
from fav.pipeline.import_inputs import import_input, import_large
from fav.pipeline.job_naming import find_or_name
from fav.pipeline.provenance import MAX_LENGTH, made_here
from fav.pipeline.request import Request, check_out
from fav.pipeline.spec import OPTIONS, VALUE_FIELDS, JobSpec, check_size
from fav.pipeline.submit import SubmitResult, continue_job
from fav.util.fingerprint import check_same_format, hash_of, video_fingerprint
from fav.util.image_sequence import check_no_gaps, is_sequence
from fav.util.safe_path import resolve_inside
from fav.video import VideoInfo, probe, reaches
from shared.command_names import command
from shared.jobs import create_job
from shared.membership import Node
from shared.paths import JobPaths
from shared.shared_dir import SharedDir

BYTES = 17  # of a pixel: two flows of 8 bytes and a reliability
NO_STYLE = "flow-{}"  # what a flow job has in its name in the place of the style


def submit_flow(
    node: Node, video: str, out: str | None = None, given: frozenset[str] = frozenset(), **options: Any
) -> SubmitResult:
    """Create the job that writes the flow of a video, or join it. If it is finished, its results are checked.

    Args:
        node: this node.
        video: path of the video.
        out: the directory for the files, relative to the shared directory; None: the job's name.
        given: names of the options that were typed.
        options: `flow`, `flow_weights`, `flow_downscale`, `range`, `width`, `scale`, `fps` and `threads`, as in `Request`.

    Raises:
        FavError: an input or option is not valid, or the directory exists. No job is created.
    """
    share = node.share
    request = Request(
        video, Path(NO_STYLE.format(options.get("flow", "dis"))), given=given, no_temporal=True, **options
    )
    request.check()
    out = within(share.layout.root, out)
    if out:
        check_out(out)
        check_output_directory(share, out)
    source = _check(request)
    fields = _fields(request, source)
    wanted = JobSpec(video="", style="", out=out or "flow", **fields)
    found = find_or_name(share, request, wanted)
    name, job, notes = found.name, found.job, found.notes
    import_notes: list[str] = []
    if job is None:
        out = out or _free_name(share, name)
        if not is_free(resolve_inside(share.layout.root, out)):
            raise FavError(
                f"{share.layout.root / out}: expected a new directory, but it exists; choose another OUT_DIR"
            )
        notes += _check_space(share, request, source, fields)
        job, created = create_job(
            node,
            name,
            request.lease,
            lambda layout: _fill(share, layout, request, {**fields, "out": out}, import_notes.append),
        )
        if created:
            return SubmitResult(job, True, (*notes, *import_notes))
    spec = JobSpec.from_json(job.manifest.spec)
    if not spec.is_flow or _differs(spec, wanted):
        raise FavError(f"job {job.name} is another one; remove it first: {command('clean')}")
    if out and out != spec.out:
        raise FavError(
            f"job {job.name} writes these files to {share.layout.root / spec.out}; take that name, or remove the job first: "
            f"{command('clean')} (its files stay)"
        )
    return continue_job(node, job)


def _differs(spec: JobSpec, wanted: JobSpec) -> bool:
    """Whether a job makes other files than those that are wanted."""
    names = ("flow", "flow_weights_hash", "flow_downscale", "video_hash", "start", "stop", "width", "height", "fps")
    return any(getattr(spec, name) != getattr(wanted, name) for name in names)


def _check(request: Request) -> VideoInfo:
    """Check the video and the flow method. Raises FavError; returns the properties of the video."""
    if is_sequence(request.video):
        check_no_gaps(request.video, request.last)
        check_same_format(request.video)
    source, start = probe(request.video, request.source), request.range[0]
    flows.check(request.flow, request.flow_weights)
    if start and not reaches(source, start, request.source):
        raise FavError(f"--range: expected a START below the number of frames of {request.video}, got {start}")
    return source


def _fields(request: Request, source: VideoInfo) -> dict[str, Any]:
    """The fields of the job's spec that follow from the request, without paths."""
    size = film_size(source, request.width, request.scale)
    check_size(size, "flow")
    return {
        **{name: getattr(request, name) for name in VALUE_FIELDS},
        "flow_weights_hash": hash_of(request.flow_weights),
        "video_hash": video_fingerprint(request.video),
        "style_hash": "",
        "start": request.range[0],
        "stop": request.last,
        "cuts": (),
        "width": size[0],
        "height": size[1],
        "crf": None,
        "notes": tuple(sanitize(note, 500) for note in source.notes),
        "product": "flow",
    }


def _free_name(share: SharedDir, name: str) -> str:
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next(each for each in names if not os.path.lexists(share.layout.root / each))


def _check_space(share: SharedDir, request: Request, source: VideoInfo, fields: dict[str, Any]) -> tuple[str, ...]:
    """A note if the files may not fit. Raises FavError if not even half of them do."""
    frames = frames_of(source, fields)
    if frames is None or request.no_space_check:
        return ()
    need = DiskUsage(frames * BYTES * fields["width"] * fields["height"], 3 * frames)
    what = f"the flow of {frames} frames of {fields['width']}x{fields['height']}"
    return compare_space(share, need, what, "or choose a smaller --width or --range")


def _fill(share: SharedDir, layout: JobPaths, request: Request, fields: dict[str, Any], note: Any) -> dict:
    """Import the inputs into the new job's directory; return the JSON of its spec."""
    weights = import_input(share, layout, request.flow_weights, layout.inputs / "flow_weights")
    video = import_large(share, layout, request.video, "video", fields["video_hash"], note)
    provenance = _provenance(request, share.layout.root, fields)
    spec = JobSpec(**{**fields, "video": video, "style": "", "flow_weights": weights, "provenance": provenance})
    record = spec.to_json()
    JobSpec.from_json(json.loads(json.dumps(record)))  # as nodes will read it, so that they accept it
    return record


def _provenance(request: Request, root: Path, fields: dict[str, Any]) -> dict[str, str]:
    """The record of the job's origin, for people."""
    typed = [OPTIONS[name].as_typed(getattr(request, name)) for name in OPTIONS if name in request.given]
    words = [
        shlex.quote(os.path.abspath(request.video)),
        shlex.quote(fields["out"]),
        "--share",
        shlex.quote(str(root.absolute())),
    ]
    entries = {
        "video": os.path.abspath(request.video),
        "video_facts": f"fingerprint {fields['video_hash']}",
        "command": " ".join(["fav flow", *words, *typed]),
        **made_here(),
    }
    return {name: sanitize(text, MAX_LENGTH) for name, text in entries.items()}
