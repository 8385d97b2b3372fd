"""Record the origin of a job: the files that the user named, the command that recreates it, who submitted it, and when.

The record is only for people: the program makes no decision with it. Jobs of the same film may have different records. What the
film itself contains is in `fav.pipeline.film_comment`.
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

MAX_LENGTH = 4000  # letters of one entry
STYLE_KEYS = ("style", "arch", "iterations")  # of a style's metadata: style image, architecture, training iterations
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
    """The record of a job's origin.

    Args:
        request: the command line.
        root: the shared directory.
        video_hash: fingerprint of the video.
        style_hash: fingerprint of the style.

    Returns:
        Texts by the keys of `LABELS`: absolute paths of `video` and `style`, size and fingerprint, metadata of the style, the
        `command` that recreates the job, user and host (`by`), the time in UTC, and the version of the program.
    """
    metadata = _style_metadata(request.style)
    about_style = [f"{name} {metadata[name]}" for name in STYLE_KEYS if metadata.get(name)]
    entries = {
        "video": os.path.abspath(request.video),
        "video_facts": f"{format_bytes(_bytes(request.video))}, fingerprint {video_hash}",
        "style": str(request.style.absolute()),
        "style_facts": ", ".join([*about_style, f"fingerprint {style_hash}"]),
        "command": command_of(request, root),
        **made_here(),
    }
    return {name: sanitize(text, MAX_LENGTH) for name, text in entries.items() if text}


def command_of(request: Request, root: Path) -> str:
    """The command that recreates the job, from any directory of a machine with the same paths."""
    arguments = [shlex.quote(os.path.abspath(path)) for path in (root, request.video, request.style)]
    for name, option in OPTIONS.items():
        if name not in request.given:
            continue
        value = getattr(request, name)
        if name == "mix":
            value = tuple((style.absolute(), weight) for style, weight in value)
        elif name in (*INPUT_FIELDS, "read_cuts") and value is not None and Path(value).exists():
            value = Path(value).absolute()
        arguments.append(option.as_typed(value))
    return " ".join(["fav run", *arguments])


def lines_of(provenance: dict[str, str]) -> dict[str, str]:
    """The entries of a record by their label. Entries that this version does not know are left out."""
    return {LABELS[name]: sanitize(text, MAX_LENGTH) for name, text in provenance.items() if name in LABELS}


def _bytes(video: str) -> int:
    """The size of a video, or of all images of a numbered sequence."""
    files = sequence_files(video) if is_sequence(video) else [Path(video)]
    return sum(file.stat().st_size for file in files)


def _style_metadata(style: Path) -> dict[str, str]:
    from fav.model.onnx_style import model_facts  # imports torch, which commands that only show a record do not need

    try:
        return model_facts(style).metadata
    except FavError:  # the file has changed since the check; the job's copy is checked again later
        return {}


def made_here() -> dict[str, str]:
    """The entries of a job's record on who makes it: `by`, the user and host; `when`, in UTC; `version`, of the program."""
    return {
        "by": f"{_user()}@{socket.gethostname()}",
        "when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "version": f"fav {fav.__version__} (sources {version()})",
    }


def _user() -> str:
    """The name of the user who runs this process, or its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in containers, a user may have no name
        return str(os.getuid())
