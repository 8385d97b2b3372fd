"""Find the job of a command line: an existing one with the same name and film, or the name of a new one."""

import itertools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from fav.pipeline.option import FRAMES, OUTPUT, format_number
from fav.pipeline.request import Request, differences
from fav.pipeline.spec import OPTIONS, JobSpec
from fav.util.image_sequence import is_image_output, title
from shared.jobs import Job, all_jobs, find_job, is_ended, job_name
from shared.shared_dir import SharedDir

# Options that do not visibly change the frames, or whose value depends on the machine that submits the job.
_MAY_DIFFER = {"threads", "precision", "evaluate", "loss_network", "out"}
FILM_OPTIONS = frozenset(
    name for name, option in OPTIONS.items() if option.changes in (FRAMES, OUTPUT) and name not in _MAY_DIFFER
)


def plain_name(request: Request) -> str:
    """The name of a job of the whole video in full size, such as `clip--wave`."""
    return job_name(title(request.video), Path(request.style).stem)


def default_name(request: Request) -> str:
    """The name of a request's job: the typed name, otherwise video, style, size and frames.

    For example, `clip--wave-320w-40f` is 320 pixels wide and has the first 40 frames. `clip--wave-0.5x-100to250` has
    half the size of the video, and the frames from 100 to 249.
    """
    if request.name:
        return request.name
    start, stop = request.range[0], request.last
    parts = [plain_name(request)]
    if request.width:
        parts.append(f"{request.width}w")
    if request.scale:
        parts.append(f"{format_number(request.scale)}x")
    if start:
        parts.append(f"{start}to{'end' if stop is None else stop}")
    elif stop is not None:
        parts.append(f"{stop}f")
    return "-".join(parts)


@dataclass(frozen=True)
class Found:
    """The job that a request means.

    Attributes:
        name: of the job, or of the one to be made.
        job: None if it must be made.
        notes: for the user, on a job that must be made.
        same_frames: a job that has the frames of the one to be made, and another film; None if there is none.
    """

    name: str
    job: Job | None = None
    notes: tuple[str, ...] = ()
    same_frames: Job | None = None


def find_or_name(share: SharedDir, request: Request, wanted: JobSpec) -> Found:
    """Find the job that a request means, or a name for a new one.

    A request without a name never joins a job with another film.

    Args:
        share: the shared directory.
        request: the command line.
        wanted: the spec of the job that the request would create, without the paths of its files.

    Raises:
        JobQueueError: a manifest with that name cannot be read.
    """
    if request.name:
        return Found(request.name, find_job(share, request.name))
    name, plain, notes, same_frames = default_name(request), plain_name(request), [], None
    # Earlier versions used the plain name for all sizes.
    if plain != name and (job := find_job(share, plain)):
        differing = _differing(job, wanted, request)
        if not differing:
            return Found(plain, job)
        same_frames = job if _is_output_only(differing) else None
    for candidate in itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))):
        job = find_job(share, candidate)
        if job is None:
            if same_frames:
                notes.append(f"it uses the frames of {same_frames.name}; those that are done are not stylized again")
            return Found(candidate, None, tuple(notes), same_frames)
        differing = _differing(job, wanted, request)
        if not differing:
            return Found(candidate, job)
        if same_frames is None and _is_output_only(differing):
            same_frames = job
        if candidate == name:
            other = " and ".join(what for what in ("video", "style") if what in differing)
            is_other = f"is of another {other}" if other else f"is another film ({'; '.join(differing.values())})"
            notes.append(f"{name} {is_other}; this one has its own job")
    raise AssertionError("the candidates never end")


def _differing(job: Job, wanted: JobSpec, request: Request) -> dict[str, str]:
    """The options in which the film of a job differs from that of a request; empty if it is the same film."""
    given = {
        name for name in request.given if name == "precision" or name in OPTIONS and OPTIONS[name].changes == OUTPUT
    }
    return differences(
        JobSpec.from_json(job.manifest.spec), wanted, replace(request, given=frozenset(given) | FILM_OPTIONS)
    )


def _is_output_only(differing: dict[str, str]) -> bool:
    """Whether two films that differ in these options are made of the same frames."""
    return all(name in OPTIONS and OPTIONS[name].changes == OUTPUT for name in differing)


def same_output_notes(job: Job) -> tuple[str, ...]:
    """A note if an unfinished job will make a film of the same name as this one."""
    out = str(job.manifest.spec["out"])
    for other in all_jobs(job.share):
        theirs = str(other.manifest.spec.get("out"))
        if other.manifest.id != job.manifest.id and _place(theirs) == _place(out) and not is_ended(other):
            return (f"job {other.manifest.name} makes {theirs}, too; the later of the two films gets a number",)
    return ()


def _place(out: str) -> PurePosixPath:
    """What a film takes in the shared directory: a file, or the directory of its images."""
    return PurePosixPath(out).parent if is_image_output(out) else PurePosixPath(out)
