"""What this program has made in a shared directory, told by its name and its content. Nothing else is ever removed.

A name alone is not enough: a node's private directory is known by its heartbeat file or the random end of its name, a job's by
the record of its creator or its manifest. What strangers have put between our files stays where it is, and with it
the directories above it.
"""

import json
import os
import re
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path

from shared.errors import JobQueueError, sanitize
from shared.filesystem import RECORD_LIMIT, Removal
from shared.logs import is_log_of
from shared.paths import (
    CHECK_DIRECTORY,
    HARD_LINK_PROBE,
    NOTICE,
    TRASH,
    JobFiles,
    JobPaths,
    is_id,
    is_incarnation,
    shard_of,
)
from shared.shared_dir import PROBE, SharedDir

TEMPORARY = re.compile(r"[0-9a-f]{16}(\.[A-Za-z0-9]{1,20}){0,2}")  # of `Node.draft`, some with a suffix
CHECK_FILE = re.compile(r"[0-9a-f]{16}|n{100,}")
JOB_RECORDS = ("creator", "job.json")  # what proves a directory to be a job's

# What lies in a job's directory, below its root: directories, and files.
JOB_DIRECTORIES = re.compile(
    r"inputs|claims|failed|(results|attempts)(/[a-z]+(/[0-9]{4,})?)?|"
    r"attempts/[a-z]+/[0-9]{4,}/[0-9]{7,12}(\.before\.[0-9a-f]{8})?"
)
JOB_FILES = re.compile(
    r"creator|inputs\.list|job\.json|finished|cancelled|paused|priority|(claims|failed)/[a-z]+\.[0-9]{7,12}|"
    r"attempts/[a-z]+/[0-9]{4,}/[0-9]{7,12}(\.before\.[0-9a-f]{8})?/(void\.)?([0-9a-f]{32}|damaged)\.[0-9a-f]+"
)
INPUT_LIST_HEADER = b"inputs of a job:\0"  # the list of a job's inputs begins so; each name has a NUL after it
INPUT_LIST_LIMIT = 1 << 26  # bytes of the list of a job's inputs: a million names
LOG_HEAD_BYTES = 8192  # of a log that are read to tell whose it is
MAX_LISTED = 5  # names of one line about what was removed or left alone


@cache
def _results(files: JobFiles) -> re.Pattern:
    """Results of a job. Where the ending of a kind is known, a file of the same number with another one, such as a frame
    as JPEG, is somebody's who has made something of ours."""
    known = [rf"{kind}/[0-9]{{4,}}/[0-9]{{7,12}}\.({ending})" for kind, ending in files.endings]
    others = "".join(f"(?!{kind}/)" for kind, _ in files.endings)
    return re.compile(
        "|".join(f"results/({one})" for one in (*known, rf"{others}[a-z]+/[0-9]{{4,}}/[0-9]{{7,12}}\.[A-Za-z0-9]+"))
    )


@cache
def _old_inputs(files: JobFiles) -> re.Pattern:
    """Inputs of a job that has no list of them: files, or directories of them."""
    return re.compile(rf"inputs/({files.old_inputs})(/[^/]+|\.[^/.]+)?" if files.old_inputs else r"(?!)")


def remove_temporary(share: SharedDir, name: str) -> Removal:
    """Remove what a node has left in `tmp` under that name."""
    path, system = share.layout.tmp / name, share.system
    if TRASH.fullmatch(name):
        grave = JobPaths(path)
        return system.remove(path, _is_of_job(share, grave, _input_list(share, grave)))
    if is_incarnation(name):
        drafts = [path / draft for draft in system.list(path) if TEMPORARY.fullmatch(draft)]
        if any(_remove_draft(share, draft).failed for draft in drafts if _is_job(share, JobPaths(draft))):
            return Removal(failed=True)
        return system.remove(
            path, lambda entry, is_directory: is_directory if entry == path else _is_temporary(path, entry)
        )
    if CHECK_DIRECTORY.fullmatch(name):
        is_check_file = lambda entry: CHECK_FILE.fullmatch(entry.name) is not None
        return system.remove(path, lambda entry, is_directory: is_directory if entry == path else is_check_file(entry))
    content = _content(share, path, len(PROBE))
    if (
        HARD_LINK_PROBE.fullmatch(name) and content is not None and PROBE.startswith(content)
    ):  # its node died as it wrote
        return system.remove(path, lambda entry, is_directory: not is_directory)
    return Removal([path])


def _remove_draft(share: SharedDir, path: Path) -> Removal:
    """Remove a job that was not finished when its node died. The records that prove it a job go last."""
    system, layout, total = share.system, JobPaths(path), Removal()
    if not _is_job(share, layout):
        return Removal([path])
    is_ours = _is_of_job(share, layout, _input_list(share, layout))
    for name in system.entries(path):
        if name not in (*JOB_RECORDS, layout.input_list.name):
            total.add(system.remove(path / name, is_ours))
    return total if total.failed else system.remove(path, is_ours)


def _is_job(share: SharedDir, layout: JobPaths) -> bool:
    """Whether the records in a directory prove it to be that of a job, wherever it lies."""
    try:
        fields = json.loads(_content(share, layout.manifest, RECORD_LIMIT) or b"{}")
        if is_id(fields.get("id", "")) and "lease" in fields:
            return True
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return bool(creator_of(share, layout)) or (_content(share, layout.input_list, INPUT_LIST_LIMIT) or b"").startswith(
        INPUT_LIST_HEADER
    )


def _is_temporary(private: Path, entry: Path) -> bool:
    """Whether a node made it in its private directory: a file, or the beginning of a job's directory."""
    if entry.parent == private:
        return TEMPORARY.fullmatch(entry.name) is not None
    return entry.name in JOB_RECORDS and entry.parent.parent == private


def remove_notice(share: SharedDir, name: str) -> Removal:
    """Remove a file of that name in `notify`: ours is called after its node and is empty."""
    form = NOTICE.fullmatch(name)
    return _remove_empty(share, share.layout.notify / name, form[1] if form else "")


def remove_command(share: SharedDir, incarnation: str, word: str) -> Removal:
    """Remove an order to a node, which is an empty file."""
    return _remove_empty(share, share.layout.command_file(incarnation, word), incarnation)


def _remove_empty(share: SharedDir, path: Path, incarnation: str) -> Removal:
    """Remove an empty file that is called after a node."""
    if is_incarnation(incarnation) and _content(share, path, 1) == b"":
        return share.system.remove(path, lambda entry, is_directory: not is_directory)
    return Removal([path])


def remove_job_files(share: SharedDir, layout: JobPaths, incarnation: str) -> Removal:
    """Remove a job's directory, which somebody has proved to be one: its manifest first, the record of its creator last.

    Nodes that still work on it find the manifest gone. `incarnation` is the node that does it; if it dies on the way,
    recovery goes on by the record.
    """
    system, is_ours, total = share.system, _is_of_job(share, layout, _input_list(share, layout)), Removal()
    proofs = [layout.creator.name, layout.input_list.name]
    others = [name for name in system.entries(layout.root) if name not in proofs]
    others.sort(key=lambda name: name != layout.manifest.name)
    for name in others:
        total.add(system.remove(layout.root / name, is_ours))
    if total.failed:
        return total
    if total.foreign:
        for name in proofs:
            total.add(system.remove(layout.root / name, is_ours))
        return total
    grave = (
        f"{incarnation}.{secrets.token_hex(8)}"  # what is in there is known by that name, down to an empty directory
    )
    try:
        system.rename(layout.root, share.layout.tmp / grave)
    except FileNotFoundError:
        pass  # another node was faster; or it happened, and only the reply was lost
    total.add(remove_temporary(share, grave))
    return total


def _is_of_job(share: SharedDir, layout: JobPaths, brought: "_InputList | None") -> Callable[[Path, bool], bool]:
    """Which entries of a job's directory are ours, for `FileSystem.remove`."""
    results, old_inputs = _results(share.files), _old_inputs(share.files)

    def is_ours(entry: Path, is_directory: bool) -> bool:
        name = entry.relative_to(layout.root).as_posix()
        if name.startswith("inputs/"):
            if brought is None:
                return old_inputs.fullmatch(name) is not None
            return name in (brought.directories if is_directory else brought.files)
        if is_directory:
            return name == "." or JOB_DIRECTORIES.fullmatch(name) is not None
        return (JOB_FILES.fullmatch(name) or results.fullmatch(name)) is not None and _is_in_its_shard(name)

    return is_ours


def _is_in_its_shard(name: str) -> bool:
    """Whether a result or an attempt lies in the directory that nodes put one of its number into; True for other files."""
    parts = name.split("/")
    if parts[0] not in ("results", "attempts"):
        return True
    shard, number = parts[2], int(parts[3].partition(".")[0])
    return shard == f"{shard_of(number):04d}"


def remove_results(share: SharedDir, layout: JobPaths, kind: str) -> Removal:
    """Remove the results of one kind of tasks of a job."""
    return share.system.remove(layout.results / kind, _is_of_job(share, layout, None))


def remove_logs(share: SharedDir, job: str) -> Removal:
    """Remove the logs of the nodes of one job. Files that do not begin as such a log stay."""
    total, logs = Removal(), share.layout.logs
    for name in share.system.list(logs):
        if name.startswith(f"{job}.") and name.endswith(".log") and is_log_of(_head(share, logs / name), job):
            total.add(share.system.remove(logs / name, lambda entry, is_directory: not is_directory))
    return total


def _head(share: SharedDir, path: Path) -> bytes:
    """The first bytes of a regular file; none where it is something else, or gone."""
    try:
        return share.system.head(path, LOG_HEAD_BYTES)[0]
    except (OSError, JobQueueError):
        return b""


def foreign_files_message(share: SharedDir, foreign: list[Path]) -> str:
    """A line on what was found between our files, and stays."""
    names = [path.relative_to(share.layout.root).as_posix() for path in foreign]
    return f"left alone, as this program did not make it: {list_names(names)}"


def list_names(names: list[str]) -> str:
    """The first few names, fit for one line, and how many more there are."""
    more = len(names) - MAX_LISTED
    return sanitize(", ".join(names[:MAX_LISTED]), 1000) + (f" and {more} more" if more > 0 else "")


def creator_of(share: SharedDir, layout: JobPaths) -> str | None:
    """The node that makes a job or removes it, "" for one that died as it had removed nearly all of it.

    None where nothing proves that the directory is that of a job which is being made or removed.
    """
    data = _content(share, layout.creator, 200)
    if data is None and layout.manifest.name not in share.system.list(layout.root):
        return (
            "" if (_content(share, layout.input_list, INPUT_LIST_LIMIT) or b"").startswith(INPUT_LIST_HEADER) else None
        )
    name = os.fsdecode(data or b"")
    return name if is_incarnation(name) else None


class _InputList:
    """The inputs of a job, as its list names them, below the job's directory."""

    def __init__(self, data: bytes):
        self.files = {
            f"inputs/{os.fsdecode(name)}" for name in data.removeprefix(INPUT_LIST_HEADER).split(b"\0") if name
        }
        self.directories = {parent.as_posix() for file in self.files for parent in Path(file).parents}


def _input_list(share: SharedDir, layout: JobPaths) -> _InputList | None:
    """The inputs of a job, None for a job of a version that kept no list of them: there, names tell."""
    try:
        return _InputList(share.system.read(layout.input_list, INPUT_LIST_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except JobQueueError:
        return _InputList(b"")


def record_inputs(share: SharedDir, layout: JobPaths, paths: list[Path]) -> None:
    """Write down which inputs a job is about to get, before they are there."""
    names = b"".join(os.fsencode(path.relative_to(layout.inputs)) + b"\0" for path in paths)
    share.system.append(layout.input_list, names)


def _content(share: SharedDir, path: Path, limit: int) -> bytes | None:
    """The content of a small regular file, None where it is something else, larger, or gone."""
    try:
        return share.system.read(path, limit)
    except (FileNotFoundError, NotADirectoryError, PermissionError, JobQueueError):
        return None
