"""What is published of a film job: the names of its tasks, their results read back, and the film made of them.

Beside `tasks.py`, which decides and does, this is the part of the bridge that reads; the coordinator looks through it.
"""

import filecmp
import json
import shutil
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from shared import results
from shared.errors import InputVanished, ShareError
from shared.jobs import Job
from shared.layout import Task, shard_of
from shared.nodes import MALFORMED, Node
from shared.system import FULL, NO_LINKS, PASSING

from .errors import FavError
from .flow_io import decode_flow
from .images import decode_png
from .spec import FilmSpec
from .stylize import Geometry
from .timeline import Piece, Run, Timeline
from .video import write_film


def index_task(number: int) -> Task:
    return Task("index", number, ".json")


def flow_task(frame: int) -> Task:
    return Task("flow", frame, ".png")


def frame_task(frame: int) -> Task:
    return Task("frame", frame, ".png")


def stitch_task(spec: FilmSpec) -> Task:
    return Task("stitch", 0, Path(spec.out).suffix)


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
        self.timeline = Timeline(self.spec.start, self.spec.stop, self.spec.backward, self.spec.independent)

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
        frames = range(self.spec.start, self.timeline.end)
        there: set[int] = set()
        for shard in range(shard_of(frames.start), shard_of(max(frames.stop - 1, frames.start)) + 1):
            there |= results.done_in_shard(self.job, "frame", shard)
        for run in self.timeline.runs:
            while run.done < len(run) and run.frame(run.done) in there:
                run.done += 1

    def advance(self, run: Run) -> None:
        """Count the frames of a run that are published from its beginning on."""
        shard, there = None, set()
        while run.done < len(run):
            frame = run.frame(run.done)
            if shard_of(frame) != shard:
                shard = shard_of(frame)
                there = results.done_in_shard(self.job, "frame", shard)
            if frame not in there:
                return
            run.done += 1

    def frame(self, number: int) -> np.ndarray:
        """A published stylized frame."""
        return self._decoded(frame_task(number), decode_png)

    def geometry(self, number: int) -> Geometry:
        """The published flow and reliability of a frame."""
        return Geometry(*self._decoded(flow_task(number), decode_flow))

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


def stitch(shelf: Shelf, video: Path, out: Path, crf: int,
           tick: Callable[[], None] = lambda: None) -> list[str]:
    """Write the film from what is published; returns notes for the user. InputVanished if a frame is missing."""
    spec, timeline = shelf.spec, shelf.timeline

    def frames() -> Iterator[np.ndarray]:
        for number in range(spec.start, timeline.end):
            tick()
            yield shelf.frame(number)

    return write_film(out, video, timeline.index, frames(), start=spec.start, stop=timeline.cut_off, crf=crf, fps=spec.fps)


def deliver(node: Node, job: Job, spec: FilmSpec, say: Callable[[str], None]) -> str:
    """Show the stitched film under the name the user gave it, and remove what only the making needed.

    Returns the film's path relative to the shared directory. Nothing is ever replaced: if another file has taken
    the name meanwhile, a number is added to it.
    """
    system, root = node.share.system, node.share.layout.root
    film, wanted = job.layout.result(stitch_task(spec)), spec.film(root)
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


def progress(shelf: Shelf) -> dict[str, tuple[int, int | None]]:
    """Published and expected numbers of results by kind; None where the end of the film is not known yet."""
    shelf.refresh()
    timeline, spec, job = shelf.timeline, shelf.spec, shelf.job
    numbers = range(spec.start, max(timeline.end, spec.start))
    total = len(numbers) if timeline.complete else None
    return {
        "index": (len(timeline.pieces), len(timeline.pieces) if timeline.complete else None),
        "flow": (results.count(job, "flow", numbers), total),
        "frame": (results.count(job, "frame", numbers), total),
        "stitch": (int(results.is_done(job, stitch_task(spec))), 1),
    }
