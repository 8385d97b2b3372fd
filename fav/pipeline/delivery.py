"""Give published results the names that the user chose: the film, its images, and reports. Nothing is ever replaced."""

import errno
import filecmp
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import hash_task, stitch_task
from fav.util.atomic import exclusive, private_name, take_name
from fav.video.image_output import images_in
from shared import results
from shared.errors import JobQueueError, ResultVanishedError
from shared.filesystem import NO_LINKS, TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.ownership import INPUT_LIST_HEADER, record_inputs, remove_results
from shared.paths import JobPaths, Task, is_incarnation

logger = logging.getLogger(__name__)

DRAFT = ".draft"  # ends the name of a hidden directory, which begins with the incarnation that writes it


def deliver(node: Node, job: Job, spec: JobSpec) -> str:
    """Give the stitched film the user's name, and remove results that are no longer needed.

    Returns:
        The film's path relative to the shared directory.

    Raises:
        ResultVanishedError: the published film is not a file.
    """
    root = node.share.layout.root
    publish = publish_images if spec.is_images else publish_under_name
    out = publish(node, job, stitch_task(spec), spec.film(root), "film")
    if not spec.keep_flow:
        remove_results(node.share, job.layout, "flow")
    if spec.projection != "flat":
        remove_results(node.share, job.layout, "face")
    return out.relative_to(root).as_posix()


def publish_hash(node: Node, job: Job, path: Path) -> None:
    """Publish the hash of a film or report before the file itself is published, so that `repair` can check it."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest().encode()
    for number in count():
        if results.publish_bytes(node, job, hash_task(number), digest) or _is_published_hash(job, number, digest):
            return


def _is_published_hash(job: Job, number: int, digest: bytes) -> bool:
    try:
        return results.read(job, hash_task(number)) == digest
    except JobQueueError:
        return False


def _published_file(node: Node, job: Job, task: Task, what: str) -> Path:
    """The file of a result. Anything that is not a file is quarantined, and raises ResultVanishedError."""
    result = job.layout.result(task)
    if result.is_symlink() or result.exists() and not result.is_file():
        results.quarantine_result(node, job, task, None)
        raise ResultVanishedError(f"{result}: expected a {what}, got something else")
    return result


def publish_under_name(node: Node, job: Job, task: Task, wanted: Path, what: str) -> Path:
    """Give a result a name in the shared directory.

    If another file has the name, a number is added.

    Args:
        node: this node.
        job: the job.
        task: the task with the result.
        wanted: the name.
        what: the word for the result in messages.

    Returns:
        The path with the name; if it cannot be made, that of the result.

    Raises:
        ResultVanishedError: the published result is not a file.
    """
    result = _published_file(node, job, task, what)
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_stem(f"{wanted.stem}-{number}") for number in range(2, 1000)))
        out = next(
            (name for name in names if link_or_copy(node, result, name) or has_same_content(result, name)), result
        )
        if out != wanted:
            logger.warning("%s: another file has taken this name; the %s is %s", wanted, what, out)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        out = result
        logger.warning("%s: the %s cannot be put there (%s); it is %s", wanted, what, error.strerror, result)
    return out


def publish_images(node: Node, job: Job, task: Task, wanted: Path, what: str) -> Path:
    """Unpack the images of a result, a tar file, into a directory. The signature is that of `publish_under_name`.

    The directory appears with all images at once. An existing directory is used if it is empty, or has some of these
    images and no other file with the name of one; missing images are put back.
    """
    result = _published_file(node, job, task, what)
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_name(f"{wanted.name}-{number}") for number in range(2, 1000)))
        out = next((name for name in names if _publish_image_directory(node, result, name)), result)
        if out != wanted:
            logger.warning("%s: another directory has taken this name; the images are in %s", wanted, out)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        out = result
        logger.warning("%s: the images cannot be put there (%s); they are in %s", wanted, error.strerror, result)
    return out


def _publish_image_directory(node: Node, result: Path, directory: Path) -> bool:
    """Unpack a tar into a directory, or repair it; return False if it has other files with these names."""
    if is_free(directory):
        return unpack_images(node, result, directory)
    return _is_complete_or_repaired(node, result, directory)


def is_free(directory: Path) -> bool:
    """Whether the name is free, or is that of an empty directory."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())


@dataclass(frozen=True)
class ImageDirectoryState:
    """How a directory differs from the images in a tar.

    Attributes:
        missing: names of images that it lacks.
        others: names of images for which it has another file.
        has: number of images that it has.
    """

    missing: tuple[str, ...]
    others: tuple[str, ...]
    has: int

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.others

    @property
    def is_repairable(self) -> bool:
        """Whether it has some of the images, and no other files in their places."""
        return self.has > 0 and not self.others


def compare_images(result: Path, directory: Path, whole: bool = False) -> ImageDirectoryState:
    """Compare a directory with the images in a tar by name and size, and the first one (`whole`: all) by content."""
    if directory.is_symlink() or not directory.is_dir():
        return ImageDirectoryState(tuple(name for name, _ in images_in(result)), (), 0)
    missing, others, has = [], [], 0
    for name, content in images_in(result):
        image, size = directory / name, content.seek(0, os.SEEK_END)
        if not os.path.lexists(image):
            missing.append(name)
            continue
        content.seek(0)
        is_same = not image.is_symlink() and image.is_file() and image.stat().st_size == size
        if not is_same or (whole or not has) and image.read_bytes() != content.read():
            others.append(name)
        else:
            has += 1
    return ImageDirectoryState(tuple(missing), tuple(others), has)


def replace_missing_images(node: Node, result: Path, directory: Path, missing: Iterable[str]) -> bool:
    """Put missing images of a tar back into their directory. Returns False if another file takes such a name."""
    system, wanted, put = node.share.system, set(missing), []
    for name, content in images_in(result):
        if name not in wanted:
            continue
        draft = node.temp_path()
        try:
            with exclusive(draft) as file, open(file, "wb") as image:
                shutil.copyfileobj(content, image)
            system.sync(draft)
            put.append(link_or_copy(node, draft, directory / name))
        finally:
            system.unlink(draft)
    return all(put)


def unpack_images(node: Node, result: Path, directory: Path) -> bool:
    """Unpack a tar into a new directory, which gets its name when it is complete. Returns whether it has the images.

    The images are first written among the node's temporary files, with a list of their names. If the node dies, other
    nodes recognize them by the list and remove them, as they do for a job that was not finished.
    """
    system, draft = node.share.system, JobPaths(node.temp_path())
    images = [draft.inputs / name for name, _ in images_in(result)]
    try:
        system.make_dirs(draft.root, below=node.tmp_dir)
        system.write_new(draft.input_list, INPUT_LIST_HEADER)
        record_inputs(node.share, draft, images)
        system.make_dirs(draft.inputs, below=draft.root)
        _unpack(node, result, draft.inputs)
        try:
            return _take_directory(node, result, draft.inputs, directory)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        # The directory lies on another file system.
        beside = directory.with_name(f".{node.identity.incarnation}{DRAFT}")
        _sweep_beside(node, directory.parent, [image.name for image in images])
        try:
            system.make_dirs(beside)
            _unpack(node, result, beside)
            return _take_directory(node, result, beside, directory)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def _sweep_beside(node: Node, place: Path, names: Sequence[str]) -> None:
    """Remove drafts that nodes left in a directory when they died: the images in them, and no other file."""
    system = node.share.system
    for draft in [place / name for name in system.list(place) if name.startswith(".") and name.endswith(DRAFT)]:
        incarnation = draft.name[1 : -len(DRAFT)]
        if not is_incarnation(incarnation) or draft.is_symlink() or not draft.is_dir():
            continue
        if incarnation == node.identity.incarnation or not system.exists(node.share.layout.heartbeat(incarnation)):
            with suppress(OSError):  # somebody put something else there: it stays
                for name in names:
                    system.unlink(draft / name)
                draft.rmdir()


def _unpack(node: Node, result: Path, directory: Path) -> None:
    for name, content in images_in(result):
        with exclusive(directory / name) as file, open(file, "wb") as image:
            shutil.copyfileobj(content, image)
        node.share.system.sync(directory / name)


def _take_directory(node: Node, result: Path, draft: Path, directory: Path) -> bool:
    """Give a directory of images its name. Returns whether the images are there now. OSError as for `rename`."""
    try:
        node.share.system.rename(draft, directory)  # over an empty directory, and never over another one
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise  # else another node was first
    # If this node was suspended for a lease, others may have swept some of its drafts meanwhile.
    return _is_complete_or_repaired(node, result, directory)


def _is_complete_or_repaired(node: Node, result: Path, directory: Path) -> bool:
    there = compare_images(result, directory)
    return there.is_whole or there.is_repairable and replace_missing_images(node, result, directory, there.missing)


def has_same_content(result: Path, out: Path) -> bool:
    """Whether a file has the content of a result. (The result may have been made again since the file was written.)"""
    return not out.is_symlink() and out.is_file() and filecmp.cmp(result, out, shallow=False)


def abandon(node: Node, job: Job, task: Task, out: Path) -> None:
    """Remove a result's name in the shared directory before the result is made again, if the name is a link to it.

    The file is renamed first and checked then. If it is another file, which the user put there, it gets its name
    back; if that is taken, it stays beside it.
    """
    system, result = node.share.system, job.layout.result(task)
    aside = out.with_name(f".{node.temp_path().name}.{out.name}")
    try:
        if not system.same_file(result, out):
            return
        system.rename(out, aside)
        if not system.same_file(result, aside):
            node.share.publish_no_replace(aside, out)
        system.unlink(aside)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise


def evaluation_name(film: Path, suffix: str) -> Path:
    """The path of a report of a film's evaluation, beside the film."""
    return film.with_suffix(f".evaluation{suffix}")


def link_or_copy(node: Node, film: Path, out: Path) -> bool:
    """Give a complete file a second name, by a link or a copy. Returns False if the name is taken."""
    system = node.share.system
    try:
        system.link(film, out)
        return True
    except FileExistsError:
        return system.same_file(film, out)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    if system.exists(out):
        return filecmp.cmp(film, out, shallow=False)  # by another node that delivered it, perhaps
    draft = private_name(out)
    try:
        with exclusive(draft) as file:
            shutil.copyfile(film, file)
        system.sync(draft)
        return take_name(draft, out) or filecmp.cmp(film, out, shallow=False)
    finally:
        system.unlink(draft)
