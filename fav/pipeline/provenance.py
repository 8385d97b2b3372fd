"""Where a job came from: the files that the user named, the line that makes it again, who made it, and when.

It is recorded for people. Nothing is decided by it, so that two jobs of the same film may differ in it. What the film itself says is in
`fav.pipeline.film_comment`.
"""

import getpass
import os
import shlex
import socket
import time
from pathlib import Path

import fav
from fav.errors import FavError, sanitize
from fav.pipeline.request import Request
from fav.pipeline.spec import INPUT_FIELDS, OPTIONS
from fav.util.image_sequence import is_sequence, sequence_files
from fav.util.text import format_bytes
from shared.source_hash import version

LONGEST = 4000  # letters of one entry
STYLE_FACTS = ("style", "arch", "iterations")  # of a style's metadata: the painting, the network, how long it learnt
LABELS = {
    "video": "video",
    "video_facts": "the video",
    "style": "style",
    "style_facts": "the style",
    "command": "made by",
    "by": "submitted by",
    "when": "submitted",
    "version": "with",
}


def provenance_of(request: Request, root: Path, video_hash: str, style_hash: str) -> dict[str, str]:
    """Return what a job's record says of its origin.

    Args:
        request: What was typed.
        root: The shared directory.
        video_hash: The video's fingerprint.
        style_hash: The style's fingerprint.

    Returns:
        Texts by `LABELS`: absolute paths of `video` and `style`, size and fingerprint, what the style's file says of itself, the
        `command` that makes the job again, user and host (`by`), the time in UTC, and the version of the program.
    """
    facts = _style_metadata(request.style)
    about_style = [f"{name} {facts[name]}" for name in STYLE_FACTS if facts.get(name)]
    entries = {
        "video": os.path.abspath(request.video),
        "video_facts": f"{format_bytes(_bytes(request.video))}, fingerprint {video_hash}",
        "style": str(request.style.absolute()),
        "style_facts": ", ".join([*about_style, f"fingerprint {style_hash}"]),
        "command": command_of(request, root),
        "by": f"{_user()}@{socket.gethostname()}",
        "when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "version": f"fav {fav.__version__} (sources {version()})",
    }
    return {name: sanitize(text, LONGEST) for name, text in entries.items() if text}


def command_of(request: Request, root: Path) -> str:
    """Return the line that makes the job again from any directory, on a machine where the files have the same paths."""
    words = [shlex.quote(os.path.abspath(path)) for path in (root, request.video, request.style)]
    for name, option in OPTIONS.items():
        if name not in request.given:
            continue
        value = getattr(request, name)
        if name == "mix":
            value = tuple((style.absolute(), weight) for style, weight in value)
        elif name in (*INPUT_FIELDS, "read_cuts") and value is not None and Path(value).exists():
            value = Path(value).absolute()
        words.append(option.typed(value))
    return " ".join(["fav run", *words])


def lines_of(provenance: dict[str, str]) -> dict[str, str]:
    """Return the entries of a record in words, by their label; those that this version does not know are left out."""
    return {LABELS[name]: sanitize(text, LONGEST) for name, text in provenance.items() if name in LABELS}


def _bytes(video: str) -> int:
    """The size of a video, or of all images of a numbered sequence."""
    files = sequence_files(video) if is_sequence(video) else [Path(video)]
    return sum(file.stat().st_size for file in files)


def _style_metadata(style: Path) -> dict[str, str]:
    from fav.model.onnx_style import model_facts  # imports torch, which who only shows a record does not need

    try:
        return model_facts(style).metadata
    except FavError:  # it has changed since it was checked; the copy is checked once more
        return {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
