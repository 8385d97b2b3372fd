"""Write the film from published frames, and give results a name that the user chose."""

import errno
import filecmp
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts, OmittedResults
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import stitch_task
from fav.stylize.postprocess import postprocess
from fav.stylize.settings import PostprocessSettings
from fav.util.atomic import exclusive, private_name, take_name
from fav.util.prefetch import prefetch
from fav.video import FrameReader, write_film
from fav.video.codecs import EncoderSettings, encoder_settings
from fav.video.image_output import images_in
from shared import results
from shared.errors import ResultVanishedError
from shared.filesystem import NO_LINKS, TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.ownership import remove_results
from shared.paths import Task

logger = logging.getLogger(__name__)


def stitch(
    artifacts: JobArtifacts,
    video: Path,
    out: Path,
    encoder: EncoderSettings,
    finish: PostprocessSettings,
    report_progress: Callable[[], None] = lambda: None,
    name: Path | None = None,
) -> list[str]:
    """Write the film from what is published into `out`, a new file; returns notes for the user. ResultVanishedError if a frame is
    missing. `name` is the film's, where `out` is not; numbered images are in one tar."""
    spec, timeline = artifacts.spec, artifacts.timeline

    def frames() -> Iterator[np.ndarray]:
        for frame in prefetch(partial(artifacts.frame, deep=finish.deep), range(spec.start, timeline.end)):
            report_progress()
            yield frame

    pictures = postprocess(frames(), finish, video, timeline.index, spec.start, spec.source)
    with exclusive(out) as file:
        return write_film(
            file,
            video,
            timeline.index,
            pictures,
            start=spec.start,
            stop=timeline.stop_or_none,
            encoder=encoder,
            settings=spec.source,
            name=name or out,
        )


def check_begun(artifacts: JobArtifacts) -> None:
    """FavError where no frame of the film is indexed yet."""
    if artifacts.timeline.end <= artifacts.spec.start:
        raise FavError(
            f"{artifacts.job.name}: expected a job whose first frames are indexed, got one that has just begun; wait a little"
        )


def preview(artifacts: JobArtifacts, video: Path, file: Path, name: Path, mark: str) -> OmittedResults:
    """Write the film as far as its index goes, with darkened frames of the source for stylized ones that are left out.

    Into `file`, as a film of this name with this mark as its comment. FavError where nothing is indexed yet.
    """
    spec, timeline, left_out = artifacts.spec, artifacts.timeline, OmittedResults()
    check_begun(artifacts)

    encoder = spec.encoder if not spec.is_images else encoder_settings()
    finish = replace(spec.postprocess_settings(artifacts.job.share.layout.root), deep=encoder.bits > 8)

    def frames() -> Iterator[np.ndarray]:
        with FrameReader(video, size=spec.network_size, settings=spec.source) as reader:
            for number in range(spec.start, timeline.end):
                try:
                    yield artifacts.frame(number, finish.deep)
                except ResultVanishedError as error:
                    left_out.add(number, error)
                    yield reader.read(number, timeline.index) // 2

    pictures = postprocess(frames(), finish, video, timeline.index, spec.start, spec.source)
    stop = timeline.stop_or_none if timeline.is_complete else timeline.end
    write_film(
        file,
        video,
        timeline.index,
        pictures,
        start=spec.start,
        stop=stop,
        encoder=encoder,
        settings=spec.source,
        name=name,
        comment=mark,
    )
    return left_out


def deliver(node: Node, job: Job, spec: JobSpec) -> str:
    """Show the stitched film under the name the user gave it, and remove what only the making needed.

    Returns the film's path relative to the shared directory. ResultVanishedError where what is published is not even a file.
    """
    root = node.share.layout.root
    publish = publish_images if spec.is_images else publish_under_name
    out = publish(node, job, stitch_task(spec), spec.film(root), "film")
    if not spec.keep_flow:
        remove_results(node.share, job.layout, "flow")
    return out.relative_to(root).as_posix()


def publish_under_name(node: Node, job: Job, task: Task, wanted: Path, what: str) -> Path:
    """Show a result under a name in the shared directory; where it is shown. `what` is the word for it.

    Nothing is ever replaced: if another file has taken the name meanwhile, a number is added to it. ResultVanishedError where
    what is published is not even a file.
    """
    result = job.layout.result(task)
    if result.is_symlink() or result.exists() and not result.is_file():
        results.quarantine_result(node, job, task, None)
        raise ResultVanishedError(f"{result}: expected a {what}, got something else")
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_stem(f"{wanted.stem}-{number}") for number in range(2, 1000)))
        out = next((name for name in names if link_or_copy(node, result, name) or alike(result, name)), result)
        if out != wanted:
            logger.warning("%s: another file has taken this name; the %s is %s", wanted, what, out)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        out = result
        logger.warning("%s: the %s cannot be put there (%s); it is %s", wanted, what, error.strerror, result)
    return out


def publish_images(node: Node, job: Job, task: Task, wanted: Path, what: str) -> Path:
    """Show the images in a result, a tar, in a directory of the shared directory; where they are shown. As `publish_under_name`.

    The directory appears whole. One that is there must be empty, or have these images by name and size.
    """
    result = job.layout.result(task)
    if result.is_symlink() or result.exists() and not result.is_file():
        results.quarantine_result(node, job, task, None)
        raise ResultVanishedError(f"{result}: expected a {what}, got something else")
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_name(f"{wanted.name}-{number}") for number in range(2, 1000)))
        out = next(
            (name for name in names if has_images(result, name) or is_free(name) and unpack_images(node, result, name)),
            result,
        )
        if out != wanted:
            logger.warning("%s: another directory has taken this name; the images are in %s", wanted, out)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        out = result
        logger.warning("%s: the images cannot be put there (%s); they are in %s", wanted, error.strerror, result)
    return out


def is_free(directory: Path) -> bool:
    """Whether nothing has this name, or an empty directory."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())


def has_images(result: Path, directory: Path, whole: bool = False) -> bool:
    """Whether a directory has the images in a tar, by name and size; `whole`: by their content."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    for name, content in images_in(result):
        image, size = directory / name, content.seek(0, os.SEEK_END)
        if image.is_symlink() or not image.is_file() or image.stat().st_size != size:
            return False
        content.seek(0)
        if whole and image.read_bytes() != content.read():
            return False
    return True


def unpack_images(node: Node, result: Path, directory: Path) -> bool:
    """Put the images in a tar into a directory, which gets its name when it is whole; whether it has them now."""
    system, draft = node.share.system, private_name(directory)
    system.make_dirs(draft)
    try:
        for name, content in images_in(result):
            with exclusive(draft / name) as file, open(file, "wb") as image:
                shutil.copyfileobj(content, image)
            system.sync(draft / name)
        try:
            system.rename(draft, directory)  # over an empty directory, and never over another one
            return True
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            return has_images(result, directory)  # another node was first
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def alike(result: Path, out: Path) -> bool:
    """Whether a file is a copy of a result, as that is known by now: it may have been made again."""
    return not out.is_symlink() and out.is_file() and filecmp.cmp(result, out, shallow=False)


def abandon(node: Node, job: Job, task: Task, out: Path) -> None:
    """Take a name in the shared directory away from a result that is to be made again, if it is that very file's.

    The file is moved away first, and looked at then: the user may have put another one there, which stays, beside it at
    worst.
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
    """What a part of the evaluation of a film is called, beside it."""
    return film.with_suffix(f".evaluation{suffix}")


def link_or_copy(node: Node, film: Path, out: Path) -> bool:
    """Give a whole file a second name, by a link, or by a copy where there are none; False if the name is taken."""
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
