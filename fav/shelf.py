"""What is published of a film job: the names of its tasks, their results read back, and the film made of them.

Beside `tasks.py`, which decides and does, this is the part of the bridge that reads; the coordinator looks through it.
"""

import filecmp
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from shared import results
from shared.errors import InputVanished, ShareError
from shared.jobs import Job
from shared.layout import SHARD, Task, shard_of
from shared.nodes import MALFORMED, Node
from shared.system import FULL, NO_LINKS, PASSING

from .errors import FavError
from .finish import finished
from .flow_io import decode_flow
from .images import decode_png
from .spec import FilmSpec, Finish
from .stylize import Geometry
from .timeline import Piece, Run, Timeline
from .video import write_film


OPTIONAL = frozenset({"flow"})  # kinds of tasks that may fail: whoever paints makes what is missing


def index_task(number: int) -> Task:
    return Task("index", number, ".json")


def flow_task(frame: int) -> Task:
    return Task("flow", frame, ".png")


def frame_task(frame: int) -> Task:
    return Task("frame", frame, ".png")


def stitch_task(spec: FilmSpec) -> Task:
    return Task("stitch", 0, Path(spec.out).suffix)


@dataclass(frozen=True)
class Extent:
    """How far the index of a film has come: in pieces, and to which frame (not counting it); whether that is the end."""

    pieces: int
    end: int
    complete: bool
    notes: tuple[str, ...] = ()


class Shelf:
    """What is published of one film job, read back.

    What does not read back is set aside by `node`, where there is one, so that its task is open again.
    """

    def __init__(self, job: Job, node: Node | None = None):
        self.job = job
        self.node = node
        self.spec = FilmSpec.from_json(job.manifest.spec)
        self.forget()

    def forget(self) -> None:
        """Know nothing, as at the beginning."""
        self.timeline = self._timeline()
        self._extent = Extent(0, self.spec.start, False)
        self._tallies = {kind: results.Tally(self.job, kind) for kind in ("flow", "frame")}

    def _timeline(self) -> Timeline:
        return Timeline(self.spec.start, self.spec.stop, self.spec.backward, self.spec.independent)

    def extent(self) -> Extent:
        """How far the index has come by now, read off its last piece alone."""
        pieces, shard = self._extent.pieces, None
        while not self._extent.complete and shard_of(pieces) != shard:
            shard = shard_of(pieces)
            there = results.done_in_shard(self.job, "index", shard)
            while pieces in there:
                pieces += 1
        if pieces > self._extent.pieces:
            last, timeline = self._decoded(index_task(pieces - 1), lambda data: Piece.from_json(json.loads(data))), self._timeline()
            timeline.known = last.start
            timeline.add(last)
            self._extent = Extent(pieces, max(timeline.end, self.spec.start), timeline.complete, last.notes)
        return self._extent

    def published(self, kind: str) -> int:
        """How many frames, or flows of frames, of the film are there, as far as its index has come."""
        return self._tallies[kind].count(range(self.spec.start, self.extent().end))

    def refresh(self) -> None:
        """Take in the pieces of the index that were published since."""
        shard, there = None, set()
        while not self.timeline.complete:
            number = len(self.timeline.pieces)
            if shard_of(number) != shard:
                shard = shard_of(number)
                there = results.done_in_shard(self.job, "index", shard)
            if number not in there:
                return
            self.timeline.add(self._decoded(index_task(number), self._piece))

    def _piece(self, data: bytes) -> Piece:
        piece = Piece.from_json(json.loads(data))
        if piece.start != self.timeline.known or not len(piece.index):
            raise ValueError(f"expected frames from {self.timeline.known} on, got {len(piece.index)} from {piece.start} on")
        return piece

    def survey(self) -> None:
        """Count what is done of every run, each directory of results looked at once."""
        shards = range(shard_of(self.spec.start), shard_of(max(self.timeline.end - 1, self.spec.start)) + 1)
        for shard in reversed(shards) if self.spec.backward else shards:
            self._count(shard)

    def advance(self, run: Run) -> None:
        """Count the frames of a run that are published from its beginning on, and of those that lie beside it."""
        shard = None
        while run.left and shard_of(run.frame(run.done)) != shard:
            shard = shard_of(run.frame(run.done))
            self._count(shard)

    def _count(self, shard: int) -> None:
        """Count what is done in one directory of frames; of a run, what comes after what is done already."""
        there = results.done_in_shard(self.job, "frame", shard)
        for run in self.timeline.runs_in(range(shard * SHARD, (shard + 1) * SHARD)) if there else ():
            while run.left and run.frame(run.done) in there:
                run.done += 1

    def frame(self, number: int) -> np.ndarray:
        """A published stylized frame."""
        return self._decoded(frame_task(number), self._picture)

    def _picture(self, data: bytes) -> np.ndarray:
        frame = decode_png(data, self._size)
        if frame.dtype != np.uint8:
            raise FavError(f"frame: expected 8 bits a sample, got {frame.dtype}")
        return frame

    @property
    def _size(self) -> tuple[int, int]:
        return self.spec.network_size

    def geometry(self, number: int) -> Geometry:
        """The published flow and reliability of a frame."""
        return Geometry(*self._decoded(flow_task(number), lambda data: decode_flow(data, self._size)))

    def _decoded(self, task: Task, decode: Callable):
        data = None
        try:
            data = results.read(self.job, task)
            return decode(data)
        except InputVanished:
            raise
        except (FavError, ShareError, *MALFORMED) as error:
            if self.node is not None:
                results.set_aside(self.node, self.job, task, data)
            raise InputVanished(f"{task}: it does not read back ({error})") from None


def stitch(shelf: Shelf, video: Path, out: Path, crf: int, finish: Finish,
           tick: Callable[[], None] = lambda: None) -> list[str]:
    """Write the film from what is published; returns notes for the user. InputVanished if a frame is missing."""
    spec, timeline = shelf.spec, shelf.timeline

    def frames() -> Iterator[np.ndarray]:
        for number in range(spec.start, timeline.end):
            tick()
            yield shelf.frame(number)

    pictures = finished(frames(), finish, video, timeline.index, spec.start, spec.fps)
    return write_film(out, video, timeline.index, pictures, start=spec.start, stop=timeline.cut_off, crf=crf, fps=spec.fps)


def deliver(node: Node, job: Job, spec: FilmSpec, say: Callable[[str], None]) -> str:
    """Show the stitched film under the name the user gave it, and remove what only the making needed.

    Returns the film's path relative to the shared directory. Nothing is ever replaced: if another file has taken
    the name meanwhile, a number is added to it. InputVanished where what is published is not even a file.
    """
    system, root = node.share.system, node.share.layout.root
    film, wanted = job.layout.result(stitch_task(spec)), spec.film(root)
    if film.is_symlink() or film.exists() and not film.is_file():
        results.set_aside(node, job, stitch_task(spec), None)
        raise InputVanished(f"{film}: expected a film, got something else")
    try:
        system.make_dirs(wanted.parent)
        for out in (wanted, *(wanted.with_stem(f"{wanted.stem}-{number}") for number in range(2, 1000))):
            if show(node, film, out):
                break
        if out != wanted:
            say(f"{wanted}: another file has taken this name; the film is {out}")
    except OSError as error:
        if error.errno in FULL | PASSING or isinstance(error, FileNotFoundError):
            raise
        out = film
        say(f"{wanted}: the film cannot be put there ({error.strerror}); it is {film}")
    if not spec.keep:
        system.remove_tree(job.layout.results / "flow")
    return out.relative_to(root).as_posix()


def show(node: Node, film: Path, out: Path) -> bool:
    """Give a whole film a second name, by a link, or by a copy where there are none; False if the name is taken."""
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
    draft = out.with_name(f".{node.identity.incarnation}.{out.name}")
    try:
        shutil.copyfile(film, draft)
        system.sync(draft)
        system.rename(draft, out)
    finally:
        system.unlink(draft)
    return True


def blocked(shelf: Shelf, failed: list[str]) -> list[str]:
    """What waits for the tasks of these names, which failed, in words for the user."""
    lines = []
    if failed:
        shelf.refresh()
    for task in map(Task.named, failed):
        waiting = 0
        if task.kind == "frame" and shelf.spec.start <= task.number < shelf.timeline.end:
            run = shelf.timeline.run_of(task.number)
            waiting = len(run) - run.position(task.number) - 1
        if waiting:
            lines.append(f"{waiting} frame{'s wait' if waiting > 1 else ' waits'} for frame {task.number}, which failed")
        elif task.kind == "index":
            lines.append(f"all frames from {shelf.timeline.known} on wait for piece {task.number} of the index, which failed")
    return lines


def progress(shelf: Shelf) -> dict[str, tuple[int, int | None]]:
    """Published and expected numbers of results by kind; None where the end of the film is not known yet."""
    extent = shelf.extent()
    total = extent.end - shelf.spec.start if extent.complete else None
    return {
        "index": (extent.pieces, extent.pieces if extent.complete else None),
        "flow": (shelf.published("flow"), total),
        "frame": (shelf.published("frame"), total),
        "stitch": (int(results.is_done(shelf.job, stitch_task(shelf.spec))), 1),
    }
