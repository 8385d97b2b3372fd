"""Put the inputs of a job into the shared directory: as a clone, a link or a copy."""

import fcntl
import filecmp
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fav.errors import sanitize
from fav.pipeline.spec import LINKED_INPUTS
from fav.util.atomic import exclusive
from fav.util.image_sequence import is_sequence, sequence_files
from fav.util.safe_path import resolve_inside
from fav.util.text import format_bytes
from shared.errors import UserError
from shared.filesystem import FileSystem
from shared.jobs import all_jobs
from shared.ownership import record_inputs
from shared.paths import JobPaths
from shared.shared_dir import SharedDir

FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file
CLONED, LINKED, COPIED, FOUND = "cloned", "linked", "copied", "linked from a job that has the same video"


def files_of(path: Path, skip_gaps: bool = False) -> list[Path]:
    """The files of an input: the file, all files of a directory (as for SPyNet), or all images of a sequence.

    `skip_gaps`: include images after missing numbers.
    """
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file()]
    return sequence_files(str(path), skip_gaps) if is_sequence(str(path)) else [path]


def import_input(share: SharedDir, layout: JobPaths, path: Path | None, target: Path) -> str | None:
    """Copy a file, directory or image sequence into the job; return its path relative to the shared directory."""
    if path is None:
        return None
    if path.is_dir() or is_sequence(str(path)):
        _import_files(share, layout, files_of(path), target, _copy)
        target = target if path.is_dir() else target / path.name
    else:
        target = target.with_suffix(path.suffix)
        record_inputs(share, layout, [target])
        _copy(path, target, share.system)
    return target.relative_to(share.layout.root).as_posix()


def import_large(
    share: SharedDir, layout: JobPaths, video: str, name: str, content: str, note: Callable[[str], None]
) -> str:
    """Make a video, or files of flow, available to all nodes.

    A file in the shared directory is used there, unless it belongs to another job. Otherwise it is linked or copied.

    Args:
        share: the shared directory.
        layout: paths of the job.
        video: path of the input.
        name: of the input.
        content: its hash; a file of another job with the same content is linked.
        note: called with a message on what was done.

    Returns:
        The path relative to the shared directory.
    """
    root, path = share.layout.root.resolve(), Path(video)
    real = path.parent.resolve() / path.name if is_sequence(video) else path.resolve()
    if real.is_relative_to(root) and not real.is_relative_to(root / share.layout.jobs.name):
        return real.relative_to(root).as_posix()
    if is_sequence(video):
        target = layout.inputs / name
        methods: set[str] = set()
        files = sequence_files(video, name in LINKED_INPUTS)
        _import_files(share, layout, files, target, lambda *paths: methods.add(_link_or_copy(*paths)))
        note(f"{len(files)} images are {' and '.join(sorted(methods))} into the job{_cost(methods, files)}")
        return (target / path.name).relative_to(share.layout.root).as_posix()
    target = layout.inputs / f"{name}{path.suffix}"
    record_inputs(share, layout, [target])
    method = _link_or_copy(path.resolve(), target, share.system, True, lambda: _find_copy(share, content, path))
    note(f"{sanitize(video)} is {method} into the job{_cost({method}, [path])}")
    return target.relative_to(share.layout.root).as_posix()


def _cost(methods: set[str], files: list[Path]) -> str:
    """The end of a message on imported files: the disk space that they take, and a warning for links."""
    if COPIED in methods:
        total = format_bytes(sum(file.stat().st_size for file in files))
        return f": {total} in {files[0].name if len(files) == 1 else 'all'}"
    if LINKED in methods:
        return ", which takes no space; do not overwrite it before the film is done (a new file in its place is safe)"
    return ", which takes no space"


def _find_copy(share: SharedDir, content: str, video: Path) -> Path | None:
    """A file of another job with exactly the content of a video, whose hash is `content`; None if there is none."""
    for job in all_jobs(share):
        spec = job.manifest.spec
        film = str(spec.get("video"))
        if spec.get("video_hash") == content and not is_sequence(film):
            with suppress(OSError, UserError):
                candidate = resolve_inside(share.layout.root, film)
                if filecmp.cmp(candidate, video, shallow=False):
                    return candidate
    return None


def _import_files(
    share: SharedDir, layout: JobPaths, files: list[Path], target: Path, put: Callable[[Path, Path, FileSystem], None]
) -> None:
    """Put files into a directory of the job's inputs, with `put`, which links or copies one file.

    Their names are recorded first, because the program removes only recorded files.
    """
    record_inputs(share, layout, [target / file.name for file in files])
    share.system.make_dirs(target)
    for file in files:
        put(file, target / file.name, share.system)


def _link_or_copy(
    source: Path,
    target: Path,
    system: FileSystem,
    clones: bool = False,
    find_copy: Callable[[], Path | None] = lambda: None,
) -> str:
    """Import a file into a job at the lowest cost: as a clone, hard link, link to an existing copy, or copy.

    A clone shares blocks with its source but, unlike a link, does not change if its source is overwritten.

    Args:
        source: the file.
        target: its new path.
        system: the file system.
        clones: try to clone; for many small files, this takes more time than it saves.
        find_copy: finds a file with the same content in the shared directory.

    Returns:
        CLONED, LINKED, FOUND or COPIED.
    """
    if clones and _cloned(source, target):
        system.sync(target)
        return CLONED
    try:
        if (
            source.stat().st_mode & system.file_mode & 0o444 == system.file_mode & 0o444
        ):  # otherwise other users could not read it
            system.link(source, target)
            return LINKED
    except OSError:
        if system.same_file(source, target):  # the link exists; only the reply was lost
            return LINKED
    if existing := find_copy():
        with suppress(OSError):
            system.link(existing, target)
            return FOUND
    _copy(source, target, system)
    return COPIED


def _cloned(source: Path, target: Path) -> bool:
    """Clone a file if the file system supports it (Btrfs, XFS and others); return whether it was cloned."""
    with exclusive(target) as file, open(source, "rb") as original, open(file, "wb") as clone:
        try:
            fcntl.ioctl(clone, FICLONE, original.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False


def _copy(source: Path, target: Path, system: FileSystem) -> None:
    with exclusive(target) as file:
        shutil.copyfile(source, file)
    system.sync(target)
