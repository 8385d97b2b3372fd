"""Write the film from published frames, and give results a name that the user chose."""

import errno
import filecmp
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np

from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts, OmittedResults
from fav.pipeline.film_comment import film_comment
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import stitch_task
from fav.stylize.outside import stack
from fav.stylize.postprocess import mask_frames, postprocess
from fav.stylize.settings import PostprocessSettings
from fav.util.atomic import exclusive, private_name, take_name
from fav.util.prefetch import prefetch
from fav.video import EncodedSegment, FrameReader, encode_segment, mux_film
from fav.video.codecs import EncoderSettings, encoder_settings
from fav.video.image_output import images_in
from shared import results
from shared.errors import ResultVanishedError
from shared.filesystem import NO_LINKS, TRANSIENT_ERRNOS
from shared.jobs import Job
from shared.membership import Node
from shared.ownership import INPUT_LIST_HEADER, record_inputs, remove_results
from shared.paths import JobPaths, Task

logger = logging.getLogger(__name__)

CORES_EACH = 2  # that one encoder keeps busy, with the frames that are read for it


def encode(
    artifacts: JobArtifacts,
    video: Path,
    frames: range,
    finish: PostprocessSettings,
    encoder: EncoderSettings,
    *,
    frame_of: Callable[[int], np.ndarray] | None = None,
    masks: Iterator[np.ndarray] | None = None,
    report_progress: Callable[[], None] = lambda: None,
    name: Path | None = None,
) -> EncodedSegment:
    """Encode these frames as a segment of the film from what is published. ResultVanishedError if a frame is missing.

    `name` is the film's, where it is not the job's. `frame_of` gives a frame as it is before `finish`, where that is not what is
    published; `masks` are those of the frames, where somebody has them at hand.
    """
    spec, index = artifacts.spec, artifacts.timeline.index

    def stylized() -> Iterator[np.ndarray]:
        for frame in prefetch(frame_of or partial(artifacts.frame, sixteen_bit=finish.sixteen_bit), frames):
            report_progress()
            yield frame

    pictures = postprocess(stylized(), finish, video, index, frames.start, spec.source, masks)
    return encode_segment(pictures, frames, video, index, encoder, spec.source, name or spec.out)


def stitch(
    artifacts: JobArtifacts,
    video: Path,
    out: Path,
    encoder: EncoderSettings,
    encoded: Callable[[range], EncodedSegment],
    again: Callable[[range], EncodedSegment],
    name: Path | None = None,
    comment: str | None = None,
    made_by: str | None = None,
) -> list[str]:
    """Put the film together, as far as its index goes; notes for the user.

    Args:
        artifacts: What is published.
        video: The source.
        out: Where the film is written.
        encoder: How its segments are encoded.
        encoded: Gives each segment in turn.
        again: Encodes a segment here, where the other one comes from a machine whose encoder configures decoders otherwise.
        name: The film's, where `out` is not.
        comment: It goes into the film in the place of the source's.
        made_by: How the film is made; it goes into the film after the source's comment.
    """
    spec, timeline = artifacts.spec, artifacts.timeline

    def segment(frames: range, extradata: bytes) -> EncodedSegment:
        there = encoded(frames)
        if there.extradata == extradata:
            return there
        logger.info("%s: other software encoded frames %d to %d; once more", artifacts.job.name, frames[0], frames[-1])
        return again(frames)

    return mux_film(
        out,
        video,
        timeline.index,
        segment,
        segments=film_segments(artifacts),
        shape=(spec.height, spec.width),
        to_end=timeline.is_complete and timeline.stop_or_none is None,
        encoder=encoder,
        settings=spec.source,
        name=name or out,
        comment=comment,
        made_by=made_by,
    )


def check_begun(artifacts: JobArtifacts) -> None:
    """FavError where no frame of the film is indexed yet."""
    if artifacts.timeline.end <= artifacts.spec.start:
        raise FavError(
            f"{artifacts.job.name}: expected a job whose first frames are indexed, got one that has just begun; wait a little"
        )


def film_segments(artifacts: JobArtifacts) -> list[range]:
    """The segments of the film as far as its index goes; the last one is not settled where that is not the end."""
    settled, end = list(artifacts.segments), artifacts.timeline.end
    begin = settled[-1].stop if settled else artifacts.spec.start
    return settled if begin == end else [*settled, range(begin, end)]


def preview(
    artifacts: JobArtifacts,
    video: Path,
    file: Path,
    name: Path,
    mark: str,
    keep: Callable[[int, EncodedSegment], None] | None = None,
) -> OmittedResults:
    """Write the film as far as its index goes, with darkened frames of the source for stylized ones that are left out.

    It is written into `file`, as a film of this name. Its comment has this mark, and how the film is made. Published segments
    are taken; `keep` is given the number and the content of each other one that is as nodes would publish it. FavError where
    nothing is indexed yet.
    """
    spec, timeline, left_out = artifacts.spec, artifacts.timeline, OmittedResults()
    check_begun(artifacts)
    reading = Lock()
    encoder = spec.encoder if not spec.is_images else encoder_settings()
    finish = replace(spec.postprocess_settings(artifacts.job.share.layout.root), sixteen_bit=encoder.bits > 8)

    def shown(number: int) -> np.ndarray:
        try:
            return artifacts.frame(number, finish.sixteen_bit)
        except ResultVanishedError as error:
            with reading:
                left_out.add(number, error)
                dark = reader.read(number, timeline.index) // 2
                return stack(dark, dark) if spec.outside else dark

    def made(number: int, segment: EncodedSegment) -> None:
        with reading:
            whole = not left_out.any_of(range(segment.start, segment.stop))
        if keep and whole:
            keep(number, segment)

    with (
        FrameReader(video, size=spec.network_size, settings=spec.source) as reader,
        FilmSegments(artifacts, video, encoder, finish, shown, made, name) as segments,
    ):
        stitch(artifacts, video, file, encoder, segments.get, segments.again, name, preview_comment(mark, spec))
    return left_out


def preview_comment(mark: str, spec: JobSpec) -> str:
    """The comment of a preview: its mark, and how the film is made, so that a preview can be made again, too."""
    made_by = film_comment(spec)
    return mark if made_by is None else f"{mark}, {made_by}"


class FilmSegments:
    """The segments of a film for a command: published ones where they are as they should be, else encoded in the cores here.

    While one segment is put into the film, the next ones are encoded, a few at a time. With a mask, which may be a video that
    must be decoded in order, they are encoded one after the other.
    """

    def __init__(
        self,
        artifacts: JobArtifacts,
        video: Path,
        encoder: EncoderSettings,
        finish: PostprocessSettings,
        frame_of: Callable[[int], np.ndarray] | None = None,
        made: Callable[[int, EncodedSegment], None] = lambda number, segment: None,
        name: Path | None = None,
    ):
        """`encoder`, `finish`, `frame_of` and `name` as for `encode`; `made` is told of each settled segment that was encoded here."""
        self._artifacts, self._video, self._encoder, self._finish = artifacts, video, encoder, finish
        self._frame_of, self._made, self._segments = frame_of, made, film_segments(artifacts)
        self._name = name
        own = artifacts.spec.encoder, artifacts.spec.postprocess_settings(artifacts.job.share.layout.root)
        self._take_published = own == (encoder, finish)
        self._masks = SharedMasks(finish, artifacts.spec.start)
        self._many = 1 if finish.mask else max(len(os.sched_getaffinity(0)) // CORES_EACH, 1)
        self._threads = ThreadPoolExecutor(self._many, "encode")
        self._coming: dict[range, Future[EncodedSegment]] = {}
        self._over = False

    def __enter__(self) -> "FilmSegments":
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        self._threads.shutdown(cancel_futures=True)

    def get(self, frames: range) -> EncodedSegment:
        """The segment of these frames; they are asked for one after the other. ResultVanishedError where a frame is missing."""
        number = self._segments.index(frames)
        for ahead in self._segments[number : number + self._many + 1]:
            if ahead not in self._coming:
                self._coming[ahead] = self._threads.submit(self._make, ahead)
        return self._coming.pop(frames).result()

    def again(self, frames: range) -> EncodedSegment:
        """The segment of these frames, encoded here, whatever is published."""
        return self._threads.submit(self._encode, frames).result()

    def _encode(self, frames: range) -> EncodedSegment:
        return encode(
            self._artifacts,
            self._video,
            frames,
            self._finish,
            self._encoder,
            frame_of=self._frame_of,
            masks=self._masks.of_frames(frames),
            report_progress=self._check_over,
            name=self._name,
        )

    def _make(self, frames: range) -> EncodedSegment:
        number = self._segments.index(frames)
        settled = number < len(self._artifacts.segments)
        if self._take_published and settled:
            with suppress(ResultVanishedError):  # or it does not read back
                return self._artifacts.segment(number)
        segment = self._encode(frames)
        if self._take_published and settled:
            self._made(number, segment)
        return segment

    def _check_over(self) -> None:
        if self._over:
            raise CancelledError


def _mask_frames(finish: PostprocessSettings, start: int) -> Iterator[np.ndarray]:
    if finish.mask is None:
        raise ValueError("expected a film with a mask, got one without")
    return mask_frames(finish.mask, finish.size, start, finish.sixteen_bit)


class SharedMasks:
    """The masks for segments that are encoded one after the other: what of a video was decoded is not decoded once more."""

    def __init__(self, finish: PostprocessSettings, start: int):
        self._finish, self._next = finish, start
        self._masks: Iterator[np.ndarray] | None = None

    def of_frames(self, frames: range) -> Iterator[np.ndarray] | None:
        """The masks of these frames; None without a mask."""
        return self._given(frames) if self._finish.mask else None

    def _given(self, frames: range) -> Iterator[np.ndarray]:
        if self._finish.mask is None:
            return
        if self._masks is None or frames.start < self._next:
            self._masks, self._next = _mask_frames(self._finish, frames.start), frames.start
        masks, self._masks = self._masks, None  # one that fails is not asked again
        while self._next < frames.stop:
            mask = next(masks)
            self._next += 1
            if self._next > frames.start:
                if self._next == frames.stop:
                    self._masks = masks
                yield mask


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


def _published_file(node: Node, job: Job, task: Task, what: str) -> Path:
    """The file of a result. What is something else is set aside, and raises ResultVanishedError."""
    result = job.layout.result(task)
    if result.is_symlink() or result.exists() and not result.is_file():
        results.quarantine_result(node, job, task, None)
        raise ResultVanishedError(f"{result}: expected a {what}, got something else")
    return result


def publish_under_name(node: Node, job: Job, task: Task, wanted: Path, what: str) -> Path:
    """Show a result under a name in the shared directory; where it is shown. `what` is the word for it.

    Nothing is ever replaced: if another file has taken the name meanwhile, a number is added to it. ResultVanishedError where
    what is published is not even a file.
    """
    result = _published_file(node, job, task, what)
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

    The directory appears whole. One that is there must be empty, or have these images by name and size; where it has some of them,
    and nothing else by the name of another, that one is put back.
    """
    result = _published_file(node, job, task, what)
    try:
        node.share.system.make_dirs(wanted.parent)
        names = (wanted, *(wanted.with_name(f"{wanted.name}-{number}") for number in range(2, 1000)))
        out = next((name for name in names if _show_images(node, result, name)), result)
        if out != wanted:
            logger.warning("%s: another directory has taken this name; the images are in %s", wanted, out)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS or isinstance(error, FileNotFoundError):
            raise
        out = result
        logger.warning("%s: the images cannot be put there (%s); they are in %s", wanted, error.strerror, result)
    return out


def _show_images(node: Node, result: Path, directory: Path) -> bool:
    """Whether a directory has the images in a tar, now or before; False where it has others."""
    if is_free(directory):
        return unpack_images(node, result, directory)
    return _has_or_mends(node, result, directory)


def is_free(directory: Path) -> bool:
    """Whether nothing has this name, or an empty directory."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())


@dataclass(frozen=True)
class ImagesThere:
    """What of the images in a tar a directory has: names of those that are `missing`, of files that are `others`, and how many it has."""

    missing: tuple[str, ...]
    others: tuple[str, ...]
    has: int

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.others

    @property
    def is_mendable(self) -> bool:
        """Whether it is a directory of these images, of which some were taken away."""
        return self.has > 0 and not self.others


def compare_images(result: Path, directory: Path, whole: bool = False) -> ImagesThere:
    """Compare a directory with the images in a tar: by name and size, the first one by its content; `whole`: all by content."""
    if directory.is_symlink() or not directory.is_dir():
        return ImagesThere(tuple(name for name, _ in images_in(result)), (), 0)
    missing, others, has = [], [], 0
    for name, content in images_in(result):
        image, size = directory / name, content.seek(0, os.SEEK_END)
        if not os.path.lexists(image):
            missing.append(name)
            continue
        content.seek(0)
        alike = not image.is_symlink() and image.is_file() and image.stat().st_size == size
        if not alike or (whole or not has) and image.read_bytes() != content.read():
            others.append(name)
        else:
            has += 1
    return ImagesThere(tuple(missing), tuple(others), has)


def mend_images(node: Node, result: Path, directory: Path, missing: Iterable[str]) -> bool:
    """Put images of a tar that are missing back into their directory; False where somebody takes such a name meanwhile."""
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
    """Put the images in a tar into a directory, which gets its name when it is whole; whether it has them now.

    They are drafted among the node's temporary files, with a list of their names: what a node that dies leaves is known to be its
    own, and is swept as a job is that it was making.
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
        beside = private_name(directory)  # the directory lies on another file system
        try:
            system.make_dirs(beside)
            _unpack(node, result, beside)
            return _take_directory(node, result, beside, directory)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def _unpack(node: Node, result: Path, directory: Path) -> None:
    for name, content in images_in(result):
        with exclusive(directory / name) as file, open(file, "wb") as image:
            shutil.copyfileobj(content, image)
        node.share.system.sync(directory / name)


def _take_directory(node: Node, result: Path, draft: Path, directory: Path) -> bool:
    """Give a directory of images its name; whether that has the images now. OSError as for `rename`."""
    try:
        node.share.system.rename(draft, directory)  # over an empty directory, and never over another one
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise  # else another node was first
    # If this node was suspended for a lease, others may have swept some of its drafts meanwhile.
    return _has_or_mends(node, result, directory)


def _has_or_mends(node: Node, result: Path, directory: Path) -> bool:
    there = compare_images(result, directory)
    return there.is_whole or there.is_mendable and mend_images(node, result, directory, there.missing)


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
