"""The inputs of a job as they lie on a machine: are they still what the job was made for?"""

from pathlib import Path

from fav.errors import FavError
from fav.pipeline.spec import INPUT_FIELDS, LINKED_INPUTS, OPTIONS, JobSpec
from fav.util.fingerprint import hash_of
from fav.util.image_sequence import is_sequence
from fav.util.safe_path import resolve_input
from shared.jobs import Job

INPUTS = ("video", *INPUT_FIELDS)
NEEDED = tuple(
    name for name in INPUTS if name not in OPTIONS or not OPTIONS[name].job_only
)  # without these there is no film


def changed_inputs(
    root: Path, spec: JobSpec, video: Path | None = None, only: tuple[str, ...] = INPUTS, sequences: bool = True
) -> list[str]:
    """A line with its cure for each input that is not what the job was made for, or cannot be read.

    `video` is the copy that is read instead of the shared one, `only` names inputs. Without `sequences`, numbered images are
    not looked at: each of them would be read. FavError as for `resolve_input`.
    """
    hashes = [(name, getattr(spec, name), getattr(spec, f"{name}_hash")) for name in only]
    if "style" in only:
        hashes += [("style", path, one) for path, one in zip(spec.mix, spec.mix_hashes)]
    wrong = []
    for name, relative, wanted in hashes:
        path, what = video if video and name == "video" else resolve_input(root, relative), name.replace("_", " ")
        if path is None or is_sequence(str(path)) and not sequences:
            continue
        try:
            if hash_of(path, name in LINKED_INPUTS) != wanted:
                wrong.append(
                    f"{path}: expected the job's {what}, got another content; was it replaced? put it back, then go on, "
                    f"or make another job with --name"
                )
        except OSError as error:
            wrong.append(f"{path}: the job's {what} cannot be read ({error.strerror}); put it back, then go on")
    return wrong


def check_video(job: Job) -> None:
    """FavError where the video that a film takes its times and sound from is not the job's."""
    spec = JobSpec.from_json(job.manifest.spec)
    if wrong := changed_inputs(job.share.layout.root, spec, only=("video",), sequences=False):
        raise FavError(wrong[0])
