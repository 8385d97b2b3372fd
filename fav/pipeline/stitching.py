"""Encode segments of the film from published frames, and put them together: the whole film, or a preview of it."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np

from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.film_comment import film_comment
from fav.pipeline.omitted_results import OmittedResults
from fav.pipeline.spec import JobSpec
from fav.stylize.outside import stack
from fav.stylize.postprocess import mask_frames, postprocess
from fav.stylize.settings import PostprocessSettings
from fav.util.prefetch import prefetch
from fav.video import EncodedSegment, FrameReader, encode_segment, mux_film
from fav.video.codecs import EncoderSettings, encoder_settings
from shared.errors import ResultVanishedError

logger = logging.getLogger(__name__)

CORES_EACH = 2  # that one encoder uses, together with reading its frames


def encode(
    artifacts: JobArtifacts,
    video: Path,
    frames: range,
    postprocessing: PostprocessSettings,
    encoder: EncoderSettings,
    *,
    frame_of: Callable[[int], np.ndarray] | None = None,
    masks: Iterator[np.ndarray] | None = None,
    report_progress: Callable[[], None] = lambda: None,
    name: Path | None = None,
) -> EncodedSegment:
    """Encode frames as one segment of the film, from published results.

    Args:
        artifacts: the published results.
        video: the source.
        frames: the frames of the segment.
        postprocessing: what is done to each stylized frame.
        encoder: the encoder's settings.
        frame_of: gives a stylized frame before postprocessing; None: the published one.
        masks: the masks of these frames, if the caller has them.
        report_progress: called after each frame.
        name: the film's; None: that of the job.

    Raises:
        ResultVanishedError: a frame is missing.
    """
    spec, index = artifacts.spec, artifacts.timeline.index

    def stylized() -> Iterator[np.ndarray]:
        for frame in prefetch(frame_of or partial(artifacts.frame, sixteen_bit=postprocessing.sixteen_bit), frames):
            report_progress()
            yield frame

    pictures = postprocess(stylized(), postprocessing, video, index, frames.start, spec.source, masks)
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
    """Put the film together, as far as its index goes.

    Args:
        artifacts: the published results.
        video: the source.
        out: the file to write.
        encoder: the encoder's settings.
        encoded: gives each segment; they are asked for in order.
        again: encodes a segment on this machine, used if `encoded` gives one with another decoder configuration.
        name: the film's; None: `out`.
        comment: replaces the comment of the source.
        made_by: how the film is made; follows the source's comment.

    Returns:
        Notes for the user.
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
    """Raise FavError if no frame of the film is indexed yet."""
    if artifacts.timeline.end <= artifacts.spec.start:
        raise FavError(
            f"{artifacts.job.name}: expected a job whose first frames are indexed, got one that has just begun; wait a little"
        )


def film_segments(artifacts: JobArtifacts) -> list[range]:
    """The segments of the film as far as its index goes; the last one is not final if the index is not complete."""
    final, end = list(artifacts.segments), artifacts.timeline.end
    begin = final[-1].stop if final else artifacts.spec.start
    return final if begin == end else [*final, range(begin, end)]


def preview(
    artifacts: JobArtifacts,
    video: Path,
    file: Path,
    name: Path,
    mark: str,
    keep: Callable[[int, EncodedSegment], None] | None = None,
) -> OmittedResults:
    """Write the film as far as its index goes. Darkened frames of the source stand for missing stylized ones.

    Args:
        artifacts: the published results.
        video: the source.
        file: the file to write.
        name: the film's.
        mark: the first part of the film's comment; how the film is made follows.
        keep: called with number and content of each segment that is encoded here and has no missing frames.

    Returns:
        Which results are missing.

    Raises:
        FavError: no frame is indexed yet.
    """
    spec, timeline, left_out = artifacts.spec, artifacts.timeline, OmittedResults()
    check_begun(artifacts)
    reading = Lock()
    encoder = spec.encoder if not spec.is_images else encoder_settings()
    postprocessing = replace(spec.postprocess_settings(artifacts.job.share.layout.root), sixteen_bit=encoder.bits > 8)

    def shown(number: int) -> np.ndarray:
        try:
            return artifacts.frame(number, postprocessing.sixteen_bit)
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
        FilmSegments(artifacts, video, encoder, postprocessing, shown, made, name) as segments,
    ):
        stitch(artifacts, video, file, encoder, segments.get, segments.again, name, preview_comment(mark, spec))
    return left_out


def preview_comment(mark: str, spec: JobSpec) -> str:
    """The comment of a preview: its mark, and how the film is made, so that a preview can be made again, too."""
    made_by = film_comment(spec)
    return mark if made_by is None else f"{mark}, {made_by}"


class FilmSegments:
    """The segments of a film for a command: published ones if they fit, otherwise segments encoded on this machine.

    While one segment is put into the film, the next few are encoded. With a mask they are encoded one after the other,
    because a mask may be a video, which must be decoded in order.
    """

    def __init__(
        self,
        artifacts: JobArtifacts,
        video: Path,
        encoder: EncoderSettings,
        postprocessing: PostprocessSettings,
        frame_of: Callable[[int], np.ndarray] | None = None,
        made: Callable[[int, EncodedSegment], None] = lambda number, segment: None,
        name: Path | None = None,
    ):
        """Start no work yet.

        Args:
            artifacts: as for `encode`.
            video: as for `encode`.
            encoder: as for `encode`.
            postprocessing: as for `encode`.
            frame_of: as for `encode`.
            made: called with number and content of each final segment that was encoded here.
            name: as for `encode`.
        """
        self._artifacts, self._video, self._encoder, self._postprocessing = artifacts, video, encoder, postprocessing
        self._frame_of, self._made, self._segments = frame_of, made, film_segments(artifacts)
        self._name = name
        own = artifacts.spec.encoder, artifacts.spec.postprocess_settings(artifacts.job.share.layout.root)
        self._take_published = own == (encoder, postprocessing)
        self._masks = SharedMasks(postprocessing, artifacts.spec.start)
        self._many = 1 if postprocessing.mask else max(len(os.sched_getaffinity(0)) // CORES_EACH, 1)
        self._threads = ThreadPoolExecutor(self._many, "encode")
        self._coming: dict[range, Future[EncodedSegment]] = {}
        self._over = False

    def __enter__(self) -> "FilmSegments":
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        self._threads.shutdown(cancel_futures=True)

    def get(self, frames: range) -> EncodedSegment:
        """The segment of these frames; call it in order. Raises ResultVanishedError if a frame is missing."""
        number = self._segments.index(frames)
        for ahead in self._segments[number : number + self._many + 1]:
            if ahead not in self._coming:
                self._coming[ahead] = self._threads.submit(self._make, ahead)
        return self._coming.pop(frames).result()

    def again(self, frames: range) -> EncodedSegment:
        """Encode the segment of these frames here, even if it is published."""
        return self._threads.submit(self._encode, frames).result()

    def _encode(self, frames: range) -> EncodedSegment:
        return encode(
            self._artifacts,
            self._video,
            frames,
            self._postprocessing,
            self._encoder,
            frame_of=self._frame_of,
            masks=self._masks.of_frames(frames),
            report_progress=self._check_over,
            name=self._name,
        )

    def _make(self, frames: range) -> EncodedSegment:
        number = self._segments.index(frames)
        final = number < len(self._artifacts.segments)
        if self._take_published and final:
            with suppress(ResultVanishedError):  # it is missing or damaged
                return self._artifacts.segment(number)
        segment = self._encode(frames)
        if self._take_published and final:
            self._made(number, segment)
        return segment

    def _check_over(self) -> None:
        if self._over:
            raise CancelledError


def _mask_frames(postprocessing: PostprocessSettings, start: int) -> Iterator[np.ndarray]:
    if postprocessing.mask is None:
        raise ValueError("expected a film with a mask, got one without")
    return mask_frames(postprocessing.mask, postprocessing.size, start, postprocessing.sixteen_bit)


class SharedMasks:
    """The masks for segments that are encoded in order, so that a mask video is decoded only once."""

    def __init__(self, postprocessing: PostprocessSettings, start: int):
        self._postprocessing, self._next = postprocessing, start
        self._masks: Iterator[np.ndarray] | None = None

    def of_frames(self, frames: range) -> Iterator[np.ndarray] | None:
        """The masks of these frames; None without a mask."""
        return self._given(frames) if self._postprocessing.mask else None

    def _given(self, frames: range) -> Iterator[np.ndarray]:
        if self._postprocessing.mask is None:
            return
        if self._masks is None or frames.start < self._next:
            self._masks, self._next = _mask_frames(self._postprocessing, frames.start), frames.start
        masks, self._masks = self._masks, None  # an iterator that failed is not used again
        while self._next < frames.stop:
            mask = next(masks)
            self._next += 1
            if self._next > frames.start:
                if self._next == frames.stop:
                    self._masks = masks
                yield mask
