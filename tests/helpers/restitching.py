"""Films of a job's published frames: what `coordinator.py stitch` makes of them, and whether a film has certain frames."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

import coordinator
from fav.pipeline.artifacts import JobArtifacts
from fav.video import write_film
from shared.jobs import Job
from tests.helpers.clips import comment_of
from tests.helpers.commands import call
from tests.helpers.video_jobs import index_of


def is_film_of(film: Path, job: Job, clip: Path, frames: Iterable[np.ndarray]) -> bool:
    """Whether a film is that of these frames, with the job's times and sound, to the byte."""
    spec, out = JobArtifacts(job).spec, film.with_name("expected.mp4")
    comment = comment_of(film)
    write_film(out, clip, index_of(job), iter(frames), start=spec.start, stop=spec.stop, comment=comment)
    expected = out.read_bytes()
    out.unlink()
    return film.read_bytes() == expected


def restitched(job: Job, *words) -> Path:
    """The film that `coordinator.py stitch` makes of a job with these options."""
    result = call(coordinator.main, "stitch", job.share.layout.root, job.name, *words)
    return job.share.layout.root / told_name(result)


def told_name(result) -> str:
    """The name of the film that a command has made, or of the job that it has joined."""
    assert result.exit_code == 0, result.output
    return result.output.strip().splitlines()[-1].removeprefix("done: ")
