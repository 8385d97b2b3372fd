"""What is published of a film job: the names of its tasks, their results read back, and the film made of them.

Beside `tasks.py`, which decides and does, this is the part of the bridge that reads; the coordinator looks through it.
"""

import filecmp
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Callable, Iterator

import numpy as np

from shared import results
from shared.errors import InputVanished, ShareError, plain
from shared.jobs import Job
from shared.layout import SHARD, Task, shard_of
from shared.nodes import MALFORMED, Node
from shared.share import Share
from shared.system import NO_LINKS, WEATHER

from .ahead import ahead
from .blend import blend
from .errors import FavError
from .finish import finished
from .flow_io import decode_flow
from .images import decode_png
from .run import Run
from .spec import LEAD, FilmSpec, Finish
from .stylize import Geometry
from .timeline import Piece, Timeline
from .video import FrameReader, write_film

if TYPE_CHECKING:
    from .evaluation.comparison import Row


PAINTED = ("frame", "lead")  # kinds of tasks that paint a picture
MEASURING = frozenset({"measure", "report"})  # kinds of tasks of an evaluation
OPTIONAL = MEASURING | {"flow"}  # that may fail: whoever paints makes missing flow
WAITING = "waiting for nodes"
SPAN = 50  # frames that are measured in one task: the second before them is looked at once more
REPORTS = (".txt", ".csv", ".json", ".png")  # what the evaluation of a film is told in


def index_task(number: int) -> Task:
    return Task("index", number, ".json")


def flow_task(frame: int) -> Task:
    return Task("flow", frame, ".png")


def frame_task(frame: int) -> Task:
    return Task("frame", frame, ".png")


def lead_task(frame: int) -> Task:
    return Task("lead", frame, ".png")


def painting_task(run: Run, position: int) -> Task:
    return (lead_task if run.is_lead(position) else frame_task)(run.frame(position))


def stitch_task(spec: FilmSpec) -> Task:
    return Task("stitch", 0, Path(spec.out).suffix)


def measure_task(span: int) -> Task:
    return Task("measure", span, ".json")


def report_task(suffix: str) -> Task:
    return Task("report", REPORTS.index(suffix), suffix)


def spans(start: int, end: int, complete: bool) -> range:
    """The spans in which no frame is still to come, of the frames `[start, end)` that are known of a film.

    Span k has the frames `[k SPAN, (k + 1) SPAN)` of the source, as far as the film has them.
    """
    return range(start // SPAN, -(-end // SPAN) if complete else end // SPAN)


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
        self.timeline = Timeline(self.spec.start, self.spec.stop, self.spec.backward, self.spec.independent, self.spec.chunk)
        self._extent = Extent(0, self.spec.start, False)
        self._tallies = {kind: results.Tally(self.job, kind) for kind in ("flow", "frame", "measure")}

    def extent(self) -> Extent:
        """How far the index has come by now, read off its last piece alone."""
        pieces, shard = self._extent.pieces, None
        while not self._extent.complete and shard_of(pieces) != shard:
            shard = shard_of(pieces)
            there = results.done_in_shard(self.job, "index", shard)
            while pieces in there:
                pieces += 1
        if pieces > self._extent.pieces:
            last = self._decoded(index_task(pieces - 1), lambda data: Piece.from_json(json.loads(data)))
            timeline = Timeline(self.spec.start, self.spec.stop)
            timeline.known = last.start
            timeline.add(last)
            self._extent = Extent(pieces, max(timeline.end, self.spec.start), timeline.complete, last.notes)
        return self._extent

    def published(self, kind: str) -> int:
        """How many frames, or flows of frames, of the film are there, as far as its index has come."""
        return self._tallies[kind].count(range(self.spec.start, self.extent().end))

    def measured(self) -> tuple[int, int | None]:
        """How many spans of the film are measured, and how many there are; None where its end is not known yet."""
        extent = self.extent()
        there = spans(self.spec.start, extent.end, extent.complete)
        return self._tallies["measure"].count(there), len(there) if extent.complete else None

    def chunks(self) -> tuple[int, int | None]:
        """How many chunks and whole shots are painted, and how many there are; None where the film's end is not known yet."""
        self.refresh()
        self.survey()
        runs = self.timeline.runs
        return sum(run.closed and not run.left for run in runs), len(runs) if self.timeline.complete else None

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

    def run_of(self, task: Task) -> Run | None:
        """The run that a task of PAINTED belongs to, None where there is none as far as the film is known."""
        if not self.spec.start <= task.number < self.timeline.end:
            return None
        run = self.timeline.run_of(task.number)
        return self.timeline.next_chunk(run) if task.kind == "lead" else run

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
        frames = results.done_in_shard(self.job, "frame", shard)
        leads = results.done_in_shard(self.job, "lead", shard) if self.spec.chunk else set()
        beside = LEAD if leads else 0  # where a lead-in lies, out of its run
        around = range(shard * SHARD - beside, (shard + 1) * SHARD + beside)
        for run in self.timeline.runs_in(around) if frames or leads else ():
            while run.left and run.frame(run.done) in (leads if run.is_lead(run.done) else frames):
                run.done += 1

    def frame(self, number: int) -> np.ndarray:
        """A stylized frame as the film shows it, of published ones."""
        picture, run = self.picture(frame_task(number)), self.timeline.run_of(number)
        share = run.share(number)
        return blend(picture, self.picture(lead_task(number)), share) if share else picture

    def picture(self, task: Task) -> np.ndarray:
        """What a task of PAINTED has published."""
        return self._decoded(task, self._picture)

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

    def rows(self, span: int) -> list["Row"]:
        """What was measured of the frames of a span of the film, whose index is known that far."""
        from .evaluation.comparison import Row

        def decode(data: bytes) -> list[Row]:
            rows = [Row.from_json(row) for row in json.loads(data)["rows"]]
            if [row.frame for row in rows] != list(self.frames_of(span)):
                raise ValueError(f"expected rows of the frames {self.frames_of(span)}")
            return rows

        return self._decoded(measure_task(span), decode)

    def frames_of(self, span: int) -> range:
        """The frames of the film that a span has."""
        return range(max(span * SPAN, self.spec.start), min((span + 1) * SPAN, self.timeline.end))

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


def check_room(share: Share, out: str) -> None:
    """FavError where a film of that name would lie among what the program itself writes and removes."""
    first = PurePosixPath(out).parts[0]
    if first.casefold() in {room.name for room in (*share.layout.rooms(), share.layout.orders)}:
        raise FavError(f"--out: expected a name outside of {first}/, where nodes write and remove files; "
                       f"choose another directory")


def stitch(shelf: Shelf, video: Path, out: Path, crf: int, finish: Finish,
           tick: Callable[[], None] = lambda: None) -> list[str]:
    """Write the film from what is published; returns notes for the user. InputVanished if a frame is missing."""
    spec, timeline = shelf.spec, shelf.timeline

    def frames() -> Iterator[np.ndarray]:
        for frame in ahead(shelf.frame, range(spec.start, timeline.end)):
            tick()
            yield frame

    pictures = finished(frames(), finish, video, timeline.index, spec.start, spec.fps)
    return write_film(out, video, timeline.index, pictures, start=spec.start, stop=timeline.cut_off, crf=crf, fps=spec.fps)


def preview(shelf: Shelf, video: Path, out: Path) -> int:
    """Write the film as far as its index goes, darkened frames of the source where stylized ones are missing; how many are there.

    FavError where nothing is indexed yet.
    """
    spec, timeline = shelf.spec, shelf.timeline
    if timeline.end <= spec.start:
        raise FavError(f"{shelf.job.name}: expected a job whose first frames are indexed, got one that has just begun; wait a little")
    there = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal there
        with FrameReader(video, size=spec.network_size, fps=spec.fps) as reader:
            for number in range(spec.start, timeline.end):
                try:
                    yield shelf.frame(number)
                    there += 1
                except InputVanished:
                    yield reader.read(number, timeline.index) // 2

    pictures = finished(frames(), spec.finish(shelf.job.share.layout.root), video, timeline.index, spec.start, spec.fps)
    stop = timeline.cut_off if timeline.complete else timeline.end
    write_film(out, video, timeline.index, pictures, start=spec.start, stop=stop, crf=spec.crf, fps=spec.fps)
    return there


def deliver(node: Node, job: Job, spec: FilmSpec, say: Callable[[str], None]) -> str:
    """Show the stitched film under the name the user gave it, and remove what only the making needed.

    Returns the film's path relative to the shared directory. InputVanished where what is published is not even a file.
    """
    root = node.share.layout.root
    out = put(node, job, stitch_task(spec), spec.film(root), "film", say)
    if not spec.keep:
        node.share.system.remove_tree(job.layout.results / "flow")
    return out.relative_to(root).as_posix()


def put(node: Node, job: Job, task: Task, wanted: Path, what: str, say: Callable[[str], None]) -> Path:
    """Show a result under a name in the shared directory; where it is shown. `what` is the word for it.

    Nothing is ever replaced: if another file has taken the name meanwhile, a number is added to it. InputVanished where
    what is published is not even a file.
    """
    result = job.layout.result(task)
    if result.is_symlink() or result.exists() and not result.is_file():
        results.set_aside(node, job, task, None)
        raise InputVanished(f"{result}: expected a {what}, got something else")
    try:
        node.share.system.make_dirs(wanted.parent)
        for out in (wanted, *(wanted.with_stem(f"{wanted.stem}-{number}") for number in range(2, 1000))):
            if show(node, result, out):
                break
        if out != wanted:
            say(f"{wanted}: another file has taken this name; the {what} is {out}")
    except OSError as error:
        if error.errno in WEATHER or isinstance(error, FileNotFoundError):
            raise
        out = result
        say(f"{wanted}: the {what} cannot be put there ({error.strerror}); it is {result}")
    return out


def evaluation_name(film: Path, suffix: str) -> Path:
    """What a part of the evaluation of a film is called, beside it."""
    return film.with_suffix(f".evaluation{suffix}")


def evaluated(job: Job) -> str | None:
    """What was measured of a job's film, in one line; None where that is not published or does not read back."""
    try:
        return plain(results.read(job, report_task(".txt")).decode().partition("\n")[0], 500)
    except (InputVanished, ShareError, *MALFORMED):
        return None


def show(node: Node, film: Path, out: Path) -> bool:
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
        run = shelf.run_of(task) if task.kind in PAINTED else None
        if run:
            waiting = len(run) - run.position(task.number) - 1
        if waiting:
            lines.append(f"{waiting} frame{'s wait' if waiting > 1 else ' waits'} for {task.kind} {task.number}, which failed")
        elif task.kind == "index":
            lines.append(f"all frames from {shelf.timeline.known} on wait for piece {task.number} of the index, which failed")
    return lines


def standing(marks: set[str], claims: Collection[str], failed: list[str], otherwise: str = WAITING) -> str:
    """How a job stands, in a word or two: by its marks, what is claimed of it, and the names of its failed tasks."""
    lost = any(Task.named(name).kind not in OPTIONAL for name in failed)
    mark = next((mark for mark in ("finished", "cancelled", "paused") if mark in marks), None)
    return mark or ("running" if claims else "failed" if lost else otherwise)


def progress(shelf: Shelf) -> dict[str, tuple[int, int | None]]:
    """Published and expected numbers of results by kind; None where the end of the film is not known yet.

    Spans that are measured are among them in a job with --evaluate, and in one with --chunk the parts of shots that are
    painted to their end, and whole shots among these.
    """
    extent = shelf.extent()
    total = extent.end - shelf.spec.start if extent.complete else None
    return {
        "index": (extent.pieces, extent.pieces if extent.complete else None),
        "flow": (shelf.published("flow"), total),
        "frame": (shelf.published("frame"), total),
        **({"chunk": shelf.chunks()} if shelf.spec.chunk else {}),
        **({"measure": shelf.measured()} if shelf.spec.evaluate else {}),
        "stitch": (int(results.is_done(shelf.job, stitch_task(shelf.spec))), 1),
    }
