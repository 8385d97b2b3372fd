"""The request of a film whose style is still being trained. It is stored in the record of the training."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fav.errors import FavError
from fav.model.bundled_styles import named_styles
from fav.pipeline.job_naming import default_name
from fav.pipeline.option import KINDS
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.pipeline.training_job import TrainingJob
from fav.util.fingerprint import video_fingerprint
from fav.util.safe_path import resolve_input
from shared.jobs import find_job
from shared.membership import Node
from shared.paths import JobPaths
from shared.shared_dir import SharedDir

MAX_NAMES = 100  # names that are tried for the job of the film, if other jobs have its name
FILE_OPTIONS = {name for name, option in OPTIONS.items() if option.kind in (KINDS["file"], KINDS["styles"])}


def check_film(request: Request) -> None:
    """Check a film whose style is still a painting, as far as that is possible before the training.

    Raises:
        FavError: an input or option is not valid, or an option needs a file, which only a film with a style may have.
    """
    from fav.pipeline.check_request import check_request

    if files := sorted(request.given & FILE_OPTIONS):
        raise FavError(
            f"{OPTIONS[files[0]].flag}: expected with a trained style, got a painting: {request.style}; train it first "
            f"(fav train SHARED {request.style}), then make the film with the new style"
        )
    request.check()
    # Any style serves for the check, because the new one does not exist yet.
    check_request(replace(request, style=next(iter(named_styles().values()))))


def options_of(request: Request) -> dict[str, Any]:
    """The values that two equal films have in common: the content of the video, and the options that were typed."""
    values = {name: getattr(request, name) for name in sorted(request.given)}
    return json.loads(json.dumps({"video": video_fingerprint(request.video), **values}))


def film_record(share: SharedDir, layout: JobPaths, request: Request, note: Callable[[str], None]) -> dict[str, Any]:
    """Put the video into the job of a training; return the record of the film that is made afterwards.

    Args:
        share: the shared directory.
        layout: paths of the training.
        request: the film.
        note: called with a message on the video.
    """
    from fav.pipeline.import_inputs import import_large

    options = options_of(request)
    video = import_large(share, layout, request.video, "film", options["video"], note)
    base = default_name(request)
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return {"video": video, "name": next(name for name in names if not find_job(share, name)), "options": options}


def queue_film(node: Node, training: TrainingJob, style: Path) -> bytes:
    """Make the job of the film, or find it, and return a record with its name.

    Raises:
        FavError: an input or option is not valid any more.
    """
    from fav.pipeline.submit import submit

    film = training.film
    if film is None:
        raise ValueError("expected a training with a film")
    values = {name: value for name, value in film["options"].items() if name in OPTIONS}
    if "range" in values:
        values["range"] = tuple(values["range"])
    given = frozenset(values) | {"name"}
    video = resolve_input(node.share.layout.root, film["video"])
    base = film["name"]
    for name in itertools.chain([base], (f"{base}-{number}" for number in range(2, MAX_NAMES))):
        request = Request(str(video), style, given=given, **{**values, "name": name})
        try:
            return json.dumps({"job": submit(node, request).job.name}).encode()
        except FavError:
            if find_job(node.share, name) is None:
                raise
    raise FavError(f"{base}: expected a free name for the job of the film; remove some of these jobs")
