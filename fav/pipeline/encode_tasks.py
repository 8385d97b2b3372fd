"""The tasks that encode the film in segments. Nodes that cannot stylize a frame at the moment run them.

    encode k   encodes the frames of segment k; needs them stylized
    stitch     muxes the film; needs every encode k

Segment boundaries depend only on the index (`fav.stylize.segments`). An encode task also applies crossfades and
postprocessing: size, colors, strength and mask.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.film_comment import film_comment
from fav.pipeline.stitching import SharedMasks, encode, stitch
from fav.pipeline.task_names import encode_task
from fav.stylize.timeline import Missing
from fav.video import EncodedSegment
from shared.paths import Task, shard_of


class EncodeTasks:
    """The encode tasks of one job, as one node sees them."""

    def __init__(self, artifacts: JobArtifacts, video: Path):
        self.artifacts, self.video = artifacts, video
        self._postprocessing = artifacts.spec.postprocess_settings(artifacts.job.share.layout.root)
        self._masks = SharedMasks(self._postprocessing, artifacts.spec.start)
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Forget what was read of the job."""
        self._done: set[int] = set()  # segments that are known to be encoded
        self._open: dict[int, Missing | None] = {}  # the other ones, with what they wait for as far as it is known
        self._known = 0  # how many segments were known
        self._indexed = 0  # frames that were indexed then

    # ---- what to do next
    def candidates(self, reached: dict[int, int], unavailable: set[str]) -> Iterator[Task]:
        """Yield the tasks that can run now, in order: segments whose frames are all stylized.

        Args:
            reached: as for `Timeline.is_stylized`.
            unavailable: names of tasks that are claimed or failed.
        """
        self._refresh()
        timeline, segments, listed, over = self.artifacts.timeline, self.artifacts.segments, set(), []
        for number, missing in self._open.items():
            if number in self._done:
                over.append(number)
                continue
            # Of a film of hours, most segments wait for the frame that they waited for at the last look.
            if missing is not None and not missing.is_there(reached):
                continue
            task = encode_task(number)
            is_free = str(task) not in unavailable
            if is_free:  # others are known to be stylized
                self._open[number] = missing = timeline.first_missing(segments[number], reached)
                if missing is not None:
                    continue
            if shard_of(number) not in listed:
                listed.add(shard_of(number))
                self._done |= self.artifacts.published_in_shard("encode", shard_of(number))
            if is_free and number not in self._done:
                yield task
        for number in over:
            del self._open[number]

    def _refresh(self) -> None:
        """Add the segments that were learned of since the last look."""
        timeline, segments = self.artifacts.timeline, self.artifacts.segments
        if timeline.indexed_frames != self._indexed:
            self._open, self._indexed = dict.fromkeys(self._open), timeline.indexed_frames  # chains may be others now
        self._open.update(dict.fromkeys(range(self._known, len(segments))))
        self._known = len(segments)

    @property
    def all_encoded(self) -> bool:
        """Whether all segments of the film are known to be encoded."""
        return self.artifacts.timeline.is_complete and self._done.issuperset(range(len(self.artifacts.segments)))

    def published(self, task: Task) -> None:
        self._done.add(task.number)

    def sample(self, task: Task) -> Task | None:
        """The task of another segment that is encoded, for a self-test; None if there is none."""
        numbers = range(len(self.artifacts.segments))
        encoded = {
            number
            for shard in {shard_of(one) for one in numbers}
            for number in self.artifacts.published_in_shard("encode", shard)
        }
        return next((encode_task(one) for one in numbers if one in encoded and one != task.number), None)

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None], about: Callable[[], dict[str, str]]) -> bytes:
        """Encode a segment; return the content of its file. `about` gives its metadata, as in `EncodedSegment`."""
        segment = self._encode(self.artifacts.segments[task.number], report_progress)
        return replace(segment, about=about()).to_bytes()

    def stitch(self, out: Path, name: Path, report_progress: Callable[[], None]) -> list[str]:
        """Write the film to `out` from published segments; return notes for the user.

        Args:
            out: the file to write.
            name: of the film, whose suffix decides the container.
            report_progress: called for each segment.

        Raises:
            ResultVanishedError: a segment is missing.
        """

        def encoded(frames: range) -> EncodedSegment:
            report_progress()
            return self.artifacts.segment(self.artifacts.segments.index(frames))

        reencode = lambda frames: self._encode(frames, report_progress)
        spec = self.artifacts.spec
        return stitch(
            self.artifacts, self.video, out, spec.encoder, encoded, reencode, name, made_by=film_comment(spec)
        )

    def _encode(self, frames: range, report_progress: Callable[[], None]) -> EncodedSegment:
        return encode(
            self.artifacts,
            self.video,
            frames,
            self._postprocessing,
            self.artifacts.spec.encoder,
            masks=self._masks.of_frames(frames),
            report_progress=report_progress,
        )
