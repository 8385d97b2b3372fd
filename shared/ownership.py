"""Which files of a shared directory this program made, by name and content. It never removes others.

A name alone is not enough. A node's temporary directory is recognized by its heartbeat file or the random end of its
name; a job's directory by the record of its creator or its manifest. Foreign files between ours stay in place, and so
do the directories above them.
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
JOB_RECORDS = ("creator", "job.json")  # files that prove a directory to be a job's

# Relative paths in a job's directory: of directories, and of files.
JOB_DIRECTORIES = re.compile(
    r"inputs|claims|failed|(results|attempts)(/[a-z]+(/[0-9]{4,})?)?|"
    r"attempts/[a-z]+/[0-9]{4,}/[0-9]{7,12}(\.before\.[0-9a-f]{8})?"
)
JOB_FILES = re.compile(
    r"creator|inputs\.list|job\.json|finished|cancelled|paused|priority|(claims|failed)/[a-z]+\.[0-9]{7,12}|"
    r"attempts/[a-z]+/[0-9]{4,}/[0-9]{7,12}(\.before\.[0-9a-f]{8})?/(void\.)?([0-9a-f]{32}|damaged)\.[0-9a-f]+"
)
INPUT_LIST_HEADER = b"inputs of a job:\0"  # beginning of the list of a job's inputs; each name has a NUL after it
INPUT_LIST_LIMIT = 1 << 26  # bytes of the list of a job's inputs: a million names
LOG_HEAD_BYTES = 8192  # of a log that are read to tell whose it is
MAX_LISTED = 5  # names in a line about removed or foreign files


@cache
def _results(files: JobFiles) -> re.Pattern:
    """Paths of a job's results. If the suffix of a kind is known, a file with another one (a frame as JPEG) is not ours."""
    known = [rf"{kind}/[0-9]{{4,}}/[0-9]{{7,12}}\.({ending})" for kind, ending in files.endings]
    others = "".join(f"(?!{kind}/)" for kind, _ in files.endings)
    return re.compile(
        "|".join(f"results/({one})" for one in (*known, rf"{others}[a-z]+/[0-9]{{4,}}/[0-9]{{7,12}}\.[A-Za-z0-9]+"))
    )


@cache
def _old_inputs(files: JobFiles) -> re.Pattern:
    """Paths of inputs of a job without a list of inputs: files, or directories of files."""
    return re.compile(rf"inputs/({files.old_inputs})(/[^/]+|\.[^/.]+)?" if files.old_inputs else r"(?!)")


def remove_temporary(share: SharedDir, name: str) -> Removal:
    """Remove an entry of `tmp` that a node has left, if this program made it."""
    path, system = share.layout.tmp / name, share.system
    if TRASH.fullmatch(name):
        trash = JobPaths(path)
        return system.remove(path, _is_of_job(share, trash, _input_list(share, trash)))
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
    ):  # its node died while it wrote the file
        return system.remove(path, lambda entry, is_directory: not is_directory)
    return Removal([path])


def _remove_draft(share: SharedDir, path: Path) -> Removal:
    """Remove an incomplete job whose node died. The records that prove it to be a job are removed last."""
    system, layout, total = share.system, JobPaths(path), Removal()
    if not _is_job(share, layout):
        return Removal([path])
    is_ours = _is_of_job(share, layout, _input_list(share, layout))
    for name in system.entries(path):
        if name not in (*JOB_RECORDS, layout.input_list.name):
            total.add(system.remove(path / name, is_ours))
    return total if total.failed else system.remove(path, is_ours)


def _is_job(share: SharedDir, layout: JobPaths) -> bool:
    """Whether the records in a directory prove it to be a job's, wherever it is."""
    try:
        fields = json.loads(_content(share, layout.manifest, RECORD_LIMIT) or b"{}")
        if is_id(fields.get("id", "")) and "lease" in fields:
            return True
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return bool(creator_of(share, layout)) or (_content(share, layout.input_list, INPUT_LIST_LIMIT) or b"").startswith(
        INPUT_LIST_HEADER
    )


def _is_temporary(tmp_dir: Path, entry: Path) -> bool:
    """Whether a node made this entry of its temporary directory: a file, or an incomplete job's directory."""
    if entry.parent == tmp_dir:
        return TEMPORARY.fullmatch(entry.name) is not None
    return entry.name in JOB_RECORDS and entry.parent.parent == tmp_dir


def remove_notice(share: SharedDir, name: str) -> Removal:
    """Remove a file in `notify` if it is ours: it is named after its node and empty."""
    form = NOTICE.fullmatch(name)
    return _remove_empty(share, share.layout.notify / name, form[1] if form else "")


def remove_command(share: SharedDir, incarnation: str, word: str) -> Removal:
    """Remove a request to a node, which is an empty file."""
    return _remove_empty(share, share.layout.command_file(incarnation, word), incarnation)


def _remove_empty(share: SharedDir, path: Path, incarnation: str) -> Removal:
    """Remove a file that is named after a node, if it is empty."""
    if is_incarnation(incarnation) and _content(share, path, 1) == b"":
        return share.system.remove(path, lambda entry, is_directory: not is_directory)
    return Removal([path])


def remove_job_files(share: SharedDir, layout: JobPaths, incarnation: str) -> Removal:
    """Remove a job's directory: its manifest first, the record of its creator last.

    The caller has checked that it is a job's. Nodes that still work on it find the manifest gone. If this node dies
    meanwhile, recovery continues because of the record.

    Args:
        share: the shared directory.
        layout: paths of the job.
        incarnation: this node.
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
    trash = (
        f"{incarnation}.{secrets.token_hex(8)}"  # the name alone proves that this directory is ours, also when empty
    )
    try:
        system.rename(layout.root, share.layout.tmp / trash)
    except FileNotFoundError:
        pass  # another node was faster; or it happened, and only the reply was lost
    total.add(remove_temporary(share, trash))
    return total


def _is_of_job(share: SharedDir, layout: JobPaths, inputs: "_InputList | None") -> Callable[[Path, bool], bool]:
    """Which entries of a job's directory are ours, for `FileSystem.remove`."""
    results, old_inputs = _results(share.files), _old_inputs(share.files)

    def is_ours(entry: Path, is_directory: bool) -> bool:
        name = entry.relative_to(layout.root).as_posix()
        if name.startswith("inputs/"):
            if inputs is None:
                return old_inputs.fullmatch(name) is not None
            return name in (inputs.directories if is_directory else inputs.files)
        if is_directory:
            return name == "." or JOB_DIRECTORIES.fullmatch(name) is not None
        return (JOB_FILES.fullmatch(name) or results.fullmatch(name)) is not None and _is_in_its_shard(name)

    return is_ours


def _is_in_its_shard(name: str) -> bool:
    """Whether a result or an attempt is in the shard of its number. True for other files."""
    parts = name.split("/")
    if parts[0] not in ("results", "attempts"):
        return True
    shard, number = parts[2], int(parts[3].partition(".")[0])
    return shard == f"{shard_of(number):04d}"


def remove_results(share: SharedDir, layout: JobPaths, kind: str) -> Removal:
    """Remove a job's results of one kind of task."""
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
    """A line about foreign files between ours, which stay."""
    names = [path.relative_to(share.layout.root).as_posix() for path in foreign]
    return f"kept, because this program did not make it: {list_names(names)}"


def list_names(names: list[str]) -> str:
    """The first few names in one line, and the number of further ones."""
    more = len(names) - MAX_LISTED
    return sanitize(", ".join(names[:MAX_LISTED]), 1000) + (f" and {more} more" if more > 0 else "")


def creator_of(share: SharedDir, layout: JobPaths) -> str | None:
    """The node that creates or removes a job; "" if that node died when only the list of inputs was left.

    None if nothing proves that the directory is a job's which is being created or removed.
    """
    data = _content(share, layout.creator, 200)
    if data is None and layout.manifest.name not in share.system.list(layout.root):
        return (
            "" if (_content(share, layout.input_list, INPUT_LIST_LIMIT) or b"").startswith(INPUT_LIST_HEADER) else None
        )
    name = os.fsdecode(data or b"")
    return name if is_incarnation(name) else None


class _InputList:
    """The inputs of a job according to its list, as paths relative to the job's directory."""

    def __init__(self, data: bytes):
        self.files = {
            f"inputs/{os.fsdecode(name)}" for name in data.removeprefix(INPUT_LIST_HEADER).split(b"\0") if name
        }
        self.directories = {parent.as_posix() for file in self.files for parent in Path(file).parents}


def _input_list(share: SharedDir, layout: JobPaths) -> _InputList | None:
    """The inputs of a job; None for a job of an older version without such a list."""
    try:
        return _InputList(share.system.read(layout.input_list, INPUT_LIST_LIMIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except JobQueueError:
        return _InputList(b"")


def record_inputs(share: SharedDir, layout: JobPaths, paths: list[Path]) -> None:
    """Record the inputs of a job before they are put there."""
    names = b"".join(os.fsencode(path.relative_to(layout.inputs)) + b"\0" for path in paths)
    share.system.append(layout.input_list, names)


def _content(share: SharedDir, path: Path, limit: int) -> bytes | None:
    """The content of a small regular file; None if it is something else, larger, or gone."""
    try:
        return share.system.read(path, limit)
    except (FileNotFoundError, NotADirectoryError, PermissionError, JobQueueError):
        return None
