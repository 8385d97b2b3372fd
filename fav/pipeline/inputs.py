"""Check that the inputs of a job still have the content that they had at submission."""

from pathlib import Path

from fav.errors import FavError
from fav.pipeline.spec import INPUT_FIELDS, LINKED_INPUTS, OPTIONS, JobSpec
from fav.util.fingerprint import hash_of
from fav.util.image_sequence import is_sequence
from fav.util.safe_path import resolve_input
from shared.jobs import Job

INPUTS = ("video", *INPUT_FIELDS)
# The inputs that the film needs; the others are for its evaluation.
NEEDED = tuple(name for name in INPUTS if name not in OPTIONS or not OPTIONS[name].job_only)


def changed_inputs(
    root: Path, spec: JobSpec, video: Path | None = None, only: tuple[str, ...] = INPUTS, sequences: bool = True
) -> list[str]:
    """Compare the inputs of a job with their recorded hashes.

    Args:
        root: the shared directory.
        spec: of the job.
        video: a local copy of the video that is used instead of the shared one.
        only: names of the inputs to check.
        sequences: also check image sequences, which reads each image.

    Returns:
        A message for each input that has changed or cannot be read.

    Raises:
        FavError: as for `resolve_input`.
    """
    if spec.is_flow:
        only = tuple(name for name in only if name != "style")
    hashes = [(name, getattr(spec, name), getattr(spec, f"{name}_hash")) for name in only]
    if "style" in only:
        hashes += [("style", path, one) for path, one in zip(spec.mix, spec.mix_hashes)]
    wrong = []
    for name, relative, expected in hashes:
        path, label = video if video and name == "video" else resolve_input(root, relative), name.replace("_", " ")
        if path is None or is_sequence(str(path)) and not sequences:
            continue
        try:
            if hash_of(path, name in LINKED_INPUTS) != expected:
                wrong.append(
                    f"{path}: expected the job's {label}, got another content; restore the file and continue, "
                    f"or make another job with --name"
                )
        except OSError as error:
            wrong.append(f"{path}: the job's {label} cannot be read ({error.strerror}); restore the file and continue")
    return wrong


def check_video(job: Job) -> None:
    """Raise FavError if the video of a job, which gives the film its times and sound, has changed, or if it makes no film."""
    spec = JobSpec.from_json(job.manifest.spec)
    if spec.is_flow:
        raise FavError(f"{job.name}: expected a job that makes a film, got one that writes flow to files")
    if wrong := changed_inputs(job.share.layout.root, spec, only=("video",), sequences=False):
        raise FavError(wrong[0])
