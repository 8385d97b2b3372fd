"""Give the results of a flow job the names that `--flow-from` and `--reliability-from` read, in a directory of the share."""

import errno
import logging
import os
import shutil
from pathlib import Path

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.delivery import is_free, link_or_copy
from fav.pipeline.task_names import backward_task, forward_task, trust_task
from fav.stylize.flow_export import BACKWARD, FORWARD, RELIABLE
from fav.util.atomic import private_name
from shared.filesystem import TRANSIENT_ERRNOS
from shared.membership import Node
from shared.ownership import INPUT_LIST_HEADER, record_inputs
from shared.paths import JobPaths, Task

logger = logging.getLogger(__name__)


def files_of(artifacts: JobArtifacts) -> dict[str, Task]:
    """The tasks of a flow job by the names of their files. The index must be loaded."""
    start, end = artifacts.spec.start, artifacts.timeline.end
    return {
        **{BACKWARD % frame: backward_task(frame) for frame in range(start + 1, end)},
        **{FORWARD % frame: forward_task(frame) for frame in range(start, end - 1)},
        **{RELIABLE % frame: trust_task(frame) for frame in range(start + 1, end)},
    }


def deliver(node: Node, artifacts: JobArtifacts) -> Path:
    """Put all files of a flow job into its directory, which appears whole; return where they are.

    Nothing is replaced: if the directory has other files by these names, a number is added to its name. Files that were
    removed from it are put back.
    """
    job, wanted = artifacts.job, artifacts.spec.film(artifacts.job.share.layout.root)
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_name(f"{wanted.name}-{number}") for number in range(2, 1000)))
        out = next((name for name in names if _put(node, artifacts, name)), None)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        logger.warning("%s: the files cannot be put there (%s)", wanted, error.strerror)
        out = None
    if out is None:
        return job.layout.results
    if out != wanted:
        logger.warning("%s: another directory has taken this name; the files are in %s", wanted, out)
    return out


def missing_files(artifacts: JobArtifacts, directory: Path) -> list[str]:
    """The names of files that are missing in the directory of a flow job. The index is loaded."""
    artifacts.load_new_segments()
    try:
        there = set(os.listdir(directory))
    except OSError:
        there = set()
    return [name for name in files_of(artifacts) if name not in there]


def _put(node: Node, artifacts: JobArtifacts, directory: Path) -> bool:
    """Whether a directory has all files of the job, now or before; False if it has others by their names."""
    files = files_of(artifacts)
    if is_free(directory) and _make_directory(node, artifacts, files, directory):
        return True
    if directory.is_symlink() or not directory.is_dir():
        return False
    # Another node may have made it, or somebody has removed files of it. One file of this job shows that it is ours.
    job = artifacts.job
    if not any(node.share.system.same_file(job.layout.result(task), directory / name) for name, task in files.items()):
        if any(not _same_content(job.layout.result(task), directory / name) for name, task in files.items()):
            return False
    return all(link_or_copy(node, job.layout.result(task), directory / name) for name, task in files.items())


def _same_content(result: Path, file: Path) -> bool:
    try:
        return (
            not file.is_symlink()
            and file.stat().st_size == result.stat().st_size
            and (file.read_bytes() == result.read_bytes())
        )
    except OSError:
        return False


def _make_directory(node: Node, artifacts: JobArtifacts, files: dict[str, Task], directory: Path) -> bool:
    """Make the directory with all files in one step. Returns False if another directory has taken its name.

    The files are linked below the node's temporary files first, with a list of their names, so that those of a node that
    dies are swept.
    """
    system, draft = node.share.system, JobPaths(node.temp_path())
    try:
        system.make_dirs(draft.root, below=node.tmp_dir)
        system.write_new(draft.input_list, INPUT_LIST_HEADER)
        record_inputs(node.share, draft, [draft.inputs / name for name in files])
        system.make_dirs(draft.inputs, below=draft.root)
        for name, task in files.items():
            link_or_copy(node, artifacts.job.layout.result(task), draft.inputs / name)
        try:
            system.rename(draft.inputs, directory)  # over an empty directory, and never over another one
            return True
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return False
            if error.errno != errno.EXDEV:
                raise
        beside = private_name(directory)  # the directory lies on another file system
        try:
            system.make_dirs(beside)
            for name, task in files.items():
                link_or_copy(node, artifacts.job.layout.result(task), beside / name)
            system.rename(beside, directory)
            return True
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)
