"""The film while a job makes it, segment by segment, each by whoever has nothing to paint.

    encode k   the frames of segment k of the film, encoded; needs them stylized
    stitch     needs every encode k

Where segments begin follows from the index alone (`fav.stylize.segments`). A segment has the frames as the film shows them:
crossfades, size, colors, strength and mask are done here.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.delivery import SharedMasks, encode, stitch
from fav.pipeline.task_names import encode_task
from fav.video import EncodedSegment
from shared.paths import Task, shard_of


class EncodeTasks:
    """One node's part in the encoding of one film."""

    def __init__(self, artifacts: JobArtifacts, video: Path):
        self.artifacts, self.video = artifacts, video
        self._finish = artifacts.spec.postprocess_settings(artifacts.job.share.layout.root)
        self._masks = SharedMasks(self._finish, artifacts.spec.start)
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        """Know nothing, as at the beginning."""
        self._done: set[int] = set()  # segments that were seen to be encoded

    # ---- what to do next
    def candidates(self, reached: dict[int, int], taken: set[str]) -> Iterator[Task]:
        """Segments whose frames are all there, in order; `reached` as for `Timeline.is_stylized`, `taken` are the names of tasks
        that are claimed or failed."""
        timeline, looked = self.artifacts.timeline, set()
        for number, frames in enumerate(self.artifacts.segments):
            task = encode_task(number)
            if number in self._done or not timeline.are_stylized(frames, reached):
                continue
            if shard_of(number) not in looked:
                looked.add(shard_of(number))
                self._done |= self.artifacts.there("encode", shard_of(number))
            if number not in self._done and str(task) not in taken:
                yield task

    @property
    def all_encoded(self) -> bool:
        """Whether all segments of the film were seen to be there."""
        return self.artifacts.timeline.is_complete and self._done.issuperset(range(len(self.artifacts.segments)))

    def published(self, task: Task) -> None:
        self._done.add(task.number)

    def sample(self, task: Task) -> Task | None:
        """Another segment that is encoded, None where there is none."""
        numbers = range(len(self.artifacts.segments))
        there = {
            number for shard in {shard_of(one) for one in numbers} for number in self.artifacts.there("encode", shard)
        }
        return next((encode_task(one) for one in numbers if one in there and one != task.number), None)

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None], about: Callable[[], dict[str, str]]) -> bytes:
        """Encode a segment; `about` is what it tells of itself."""
        made = self._encode(self.artifacts.segments[task.number], report_progress)
        return replace(made, about=about()).to_bytes()

    def stitch(self, out: Path, name: Path, report_progress: Callable[[], None]) -> list[str]:
        """Put the film of this name together in `out`, from published segments; notes for the user. ResultVanishedError if one is
        missing."""

        def encoded(frames: range) -> EncodedSegment:
            report_progress()
            return self.artifacts.segment(self.artifacts.segments.index(frames))

        again = lambda frames: self._encode(frames, report_progress)
        return stitch(self.artifacts, self.video, out, self.artifacts.spec.encoder, encoded, again, name)

    def _encode(self, frames: range, report_progress: Callable[[], None]) -> EncodedSegment:
        return encode(
            self.artifacts,
            self.video,
            frames,
            self._finish,
            self.artifacts.spec.encoder,
            masks=self._masks.of_frames(frames),
            report_progress=report_progress,
        )
