"""The marker: a small file that makes a directory a shared directory of this program.

A directory becomes one only if none of our names exist in it, so that a user's own `jobs` or `tmp` is not mistaken
for ours. A shared directory whose marker was removed is recognized by the content of its subdirectories.
"""

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import JobQueueError, OddFileError, sanitize
from shared.filesystem import NO_LINKS, FileSystem
from shared.paths import SharedDirPaths, is_id, is_incarnation, is_name, is_notice, is_request, is_temporary
from shared.source_hash import version

FORMAT = 2  # 1: other names of the subdirectories and of some options
OLD_NAMES = {"names", "private", "bell", "jobs"}  # subdirectories of a shared directory of format 1
LIMIT = 4096  # bytes
BEGINNING = b'{"fav_share": '  # of every marker: an incomplete one is recognized by it, too
DRAFT = ".fav-share."  # and 16 hexadecimal digits: a marker that is being made
DRAFT_NAME = re.compile(re.escape(DRAFT) + "[0-9a-f]{16}")
TRIES = 10  # to read an empty marker: without hard links, another node may be writing it
PAUSE_S = 0.2


@dataclass(frozen=True)
class Marker:
    """The content of a marker. `id` is random; `made` (date) and `by` (version of the program) are for display."""

    fav_share: int
    id: str
    made: str = ""
    by: str = ""

    @classmethod
    def new(cls) -> "Marker":
        return cls(FORMAT, secrets.token_hex(8), time.strftime("%Y-%m-%d %H:%M:%S"), version())

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Marker":
        """Parse a marker. Raises JobQueueError if this version cannot read it."""
        try:
            fields = json.loads(data)
            number, identifier = fields["fav_share"], fields["id"]
            if type(number) is not int or not isinstance(identifier, str):
                raise ValueError("fav_share and id")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _no_marker(where, sanitize(repr(data[:40]))) from None
        if number > FORMAT:
            raise JobQueueError(
                f"{where}: the shared directory was made by a newer version of this program; update this machine"
            )
        if number < FORMAT:
            raise JobQueueError(_older(where.parent))
        return cls(number, identifier)


def _older(root: Path) -> str:
    return (
        f"{root}: the shared directory was made by an older version of this program; finish its jobs with that version, "
        f"or use a new directory"
    )


def refuse_old_layout(layout: SharedDirPaths, names: list[str]) -> None:
    """Raise JobQueueError if a version without markers made the directory. `names` are its entries."""
    if OLD_NAMES <= set(names):
        raise JobQueueError(_older(layout.root))


def read_marker(system: FileSystem, layout: SharedDirPaths) -> Marker | None:
    """The marker of a directory, None if it has none. Raises JobQueueError if something else has its name."""
    data = b""
    for _ in range(TRIES):
        try:
            data = system.read(layout.marker, LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OddFileError as error:
            raise _no_marker(layout.marker, error.got) from None
        if data:
            break
        system.sleep(PAUSE_S)
    return Marker.from_bytes(data, layout.marker)


def _no_marker(where: Path, got: str) -> JobQueueError:
    return JobQueueError(
        f"{where}: expected the marker of a shared directory, which is a small file, got {got}; use another directory; "
        f"or, where there are jobs, move this file away: it is made again"
    )


def write_marker(system: FileSystem, layout: SharedDirPaths) -> Marker:
    """Create the marker of a directory. If several nodes do so at once, one wins; all get the winner's marker."""
    marker, draft = Marker.new(), layout.root / f"{DRAFT}{secrets.token_hex(8)}"
    system.write_new(draft, marker.to_bytes())
    try:
        system.link(draft, layout.marker)
    except (FileExistsError, FileNotFoundError):
        pass  # another node has marked it, and may have removed our draft
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            system.write_new(layout.marker, marker.to_bytes())
        except FileExistsError:
            pass
    finally:
        system.unlink(draft)
    found = read_marker(system, layout)
    if found is None:
        raise JobQueueError(
            f"{layout.marker}: expected the marker that was just made, got nothing; is the directory being removed?"
        )
    return found


def remove_drafts(system: FileSystem, layout: SharedDirPaths, names: list[str]) -> None:
    """Remove the drafts of markers whose makers died. `names` are the entries of the directory, which is marked."""
    for name in names:
        if DRAFT_NAME.fullmatch(name) and _is_draft(system, layout.root / name):
            system.unlink(layout.root / name)


def _is_draft(system: FileSystem, path: Path) -> bool:
    try:
        data = system.read(path, LIMIT)
    except (OSError, JobQueueError):
        return False
    return data[: len(BEGINNING)] == BEGINNING[: len(data)]


def is_unmarked_share(system: FileSystem, layout: SharedDirPaths) -> bool:
    """Whether this is a shared directory without its marker: it has a manifest, or only files of this program."""
    names = system.list(layout.by_name)
    if any(_is_manifest(system, layout, name) for name in names):
        return True
    if names or not all(_is_directory(system, path) for path in layout.subdirectories()):
        return False
    mine = {
        layout.nodes: is_incarnation,
        layout.tmp: is_temporary,
        layout.notify: is_notice,
        layout.control: is_request,
        layout.jobs: is_id,
    }  # not `logs`: names of logs prove nothing
    return all(is_ours(name) for directory, is_ours in mine.items() for name in system.list(directory))


def _is_manifest(system: FileSystem, layout: SharedDirPaths, name: str) -> bool:
    try:
        fields = json.loads(system.read(layout.named_manifest(name)))
        return bool(fields["name"] == name and is_name(name) and is_id(fields["id"]) and "lease" in fields)
    except (OSError, JobQueueError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_directory(system: FileSystem, path: Path) -> bool:
    """Whether a path is a directory, not a link to one."""
    try:
        system.require_directory(path)
        return system.exists(path)
    except JobQueueError:
        return False
