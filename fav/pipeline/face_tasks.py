"""Cube faces of a 360° video that idle nodes stylize ahead, so that several nodes can work on one shot.

    face n   face n % 6 of frame n // 6; needs this face of the frame before, and the finished faces beside it

The node that owns a chain stylizes its frames one after the other, with all faces. Where a face is published already, it
takes that one. A face that is not is computed by the frame's own task, so these tasks may fail, or come too late. Each
of the six faces is a chain of its own: the one ahead depends on no other face, and can be many frames in front. The
others follow it, each behind those that it continues.
"""

from collections.abc import Callable, Iterator

import numpy as np

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import face_task, stylize_task
from fav.stylize.chain import FrameChain
from fav.stylize.cube import FACES, NEIGHBORS
from fav.stylize.engine import FrameStylizer
from fav.util.images import encode_png
from shared import results
from shared.errors import ResultVanishedError
from shared.paths import Task, shard_of

AHEAD = 12  # frames in front of the current one; this limits the disk space


class FaceTasks:
    """One node's part in the faces of one film.

    Args:
        artifacts: of the job.
        stylizer: of its video.
    """

    def __init__(self, artifacts: JobArtifacts, stylizer: FrameStylizer):
        self.artifacts, self.stylizer = artifacts, stylizer
        self._current: dict[
            int, int
        ] = {}  # the claimed position of each chain, by its first frame, as it was seen last
        self._used: set[Task] = set()  # faces that the current frame has taken
        stylizer.ready_faces = self

    def candidates(self, active: list[tuple[FrameChain, int]], unavailable: set[str]) -> Iterator[Task]:
        """Faces ahead of the frames that other nodes stylize at the moment.

        Args:
            active: chains with the position that is claimed.
            unavailable: names of tasks that are claimed or have failed.
        """
        for chain, current in active:
            self._current[chain.start] = current
            positions = range(max(current, chain.warmup), min(current + AHEAD, len(chain) - chain.undecided))
            done = self._published(chain, positions)
            for face in range(FACES):
                numbers = [chain.frame(position) * FACES + face for position in positions]
                if any(str(face_task(number)) in unavailable for number in numbers):
                    continue  # another node works on this face
                position = next((at for at, number in zip(positions, numbers) if number not in done), None)
                if position is not None and self._can_run(chain, position, face, done):
                    yield face_task(chain.frame(position) * FACES + face)

    def next_in_chain(self, task: Task) -> Task | None:
        """The same face of the next frame, if it can be stylized now."""
        face, chain = task.number % FACES, self._chain_of(task)
        position = chain.index_of(task.number // FACES) + 1
        if position >= min(self._current.get(chain.start, chain.done) + AHEAD, len(chain) - chain.undecided):
            return None
        done = self._published(chain, range(position, position + 1))
        if chain.frame(position) * FACES + face in done or not self._can_run(chain, position, face, done):
            return None
        return face_task(chain.frame(position) * FACES + face)

    def run(self, task: Task, metadata: Callable[[], dict[str, str]]) -> bytes:
        """Stylize a face. Raises ResultVanishedError if what it needs was removed meanwhile."""
        frame, face = divmod(task.number, FACES)
        chain, timeline = self._chain_of(task), self.artifacts.timeline
        position = chain.index_of(frame)
        before = chain.frame(position - 1) if position and not timeline.independent else None
        prior = None if before is None else self._needed(stylize_task(chain, position - 1), before, face)
        done = {beside: self._needed(stylize_task(chain, position), frame, beside) for beside in NEIGHBORS[face]}
        image = self.stylizer.stylize_face(
            frame, before, face, timeline.index, frame == timeline.first_frame, prior, done
        )
        return encode_png(image, metadata())

    def is_late(self, task: Task) -> bool:
        """Whether the frame of a face is done, so that nobody needs the face any more."""
        chain = self._chain_of(task)
        return results.is_done(self.artifacts.job, stylize_task(chain, chain.index_of(task.number // FACES)))

    def consumed(self) -> set[Task]:
        """The faces that were taken since the last call, which nobody needs any more."""
        used, self._used = self._used, set()
        return used

    def _chain_of(self, task: Task) -> FrameChain:
        return self.artifacts.timeline.chain_of(task.number // FACES)

    def _published(self, chain: FrameChain, positions: range) -> set[int]:
        """The numbers of published faces of frames around these positions."""
        frames = [chain.frame(position) for position in positions]
        shards = {shard_of(frame * FACES + face) for frame in frames for face in (0, FACES - 1)}
        return {number for shard in shards for number in self.artifacts.published_in_shard("face", shard)}

    def _can_run(self, chain: FrameChain, position: int, face: int, done: set[int]) -> bool:
        """Whether all that a face needs is published, and its frame is not."""
        frame, job = chain.frame(position), self.artifacts.job
        if not all(frame * FACES + beside in done for beside in NEIGHBORS[face]):
            return False
        if results.is_done(job, stylize_task(chain, position)):
            return False
        if position == 0 or self.artifacts.timeline.independent:
            return True
        before = chain.frame(position - 1) * FACES + face
        return (
            before in done
            or results.is_done(job, face_task(before))
            or results.is_done(job, stylize_task(chain, position - 1))
        )

    def _needed(self, frame_task: Task, frame: int, face: int) -> np.ndarray:
        """A published face, from its own result or from its whole frame."""
        try:
            return self.artifacts.face(frame * FACES + face)
        except ResultVanishedError:
            return self.artifacts.face_of(self.artifacts.stylized_frame(frame_task), face)

    def has(self, frame: int, face: int) -> bool:
        """Whether a face is published."""
        return results.is_done(self.artifacts.job, face_task(frame * FACES + face))

    def get(self, frame: int, face: int) -> np.ndarray | None:
        """The published face of a frame; None if the frame's own task must stylize it."""
        task = face_task(frame * FACES + face)
        if not results.is_done(self.artifacts.job, task):
            return None
        try:
            found = self.artifacts.face(task.number)
        except ResultVanishedError:
            return None
        self._used.add(task)
        return found
