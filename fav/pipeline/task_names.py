"""The names of a video job's tasks."""

from pathlib import Path

from fav.pipeline.spec import JobSpec
from fav.stylize.chain import FrameChain
from shared.paths import Task

FRAME_KINDS = ("frame", "warmup")  # kinds of tasks that paint a picture
EVALUATION_KINDS = frozenset({"measure", "report"})  # kinds of tasks of an evaluation
OPTIONAL_KINDS = EVALUATION_KINDS | {"flow", "survey", "decode"}  # that may fail: flow and index are made without them
INTERMEDIATE_KINDS = frozenset({"flow", "encode", "survey", "decode"})  # of results that a finished film needs no more
WINDOW_FRAMES = 50  # frames that are measured in one task: the second before them is looked at once more
REPORTS = (".txt", ".csv", ".json", ".png")  # what the evaluation of a film is told in
FLOW_AHEAD = 64  # flows that others may have ready for one shot: bounds the room they take


def index_task(number: int) -> Task:
    return Task("index", number, ".json")


def survey_task() -> Task:
    """Where the video can be divided into ranges."""
    return Task("survey", 0, ".json")


def decode_task(number: int) -> Task:
    """What is found in a range of the video, counted from 0."""
    return Task("decode", number, ".json")


def flow_task(frame: int) -> Task:
    return Task("flow", frame, ".png")


def frame_task(frame: int) -> Task:
    return Task("frame", frame, ".png")


def warmup_task(frame: int) -> Task:
    return Task("warmup", frame, ".png")


def stylize_task(run: FrameChain, position: int) -> Task:
    return (warmup_task if run.is_warmup(position) else frame_task)(run.frame(position))


def stitch_task(spec: JobSpec) -> Task:
    """The film; numbered images are in one tar until they are delivered."""
    return Task("stitch", 0, ".tar" if spec.is_images else Path(spec.out).suffix)


def encode_task(number: int) -> Task:
    """A segment of the film, counted from 0, encoded."""
    return Task("encode", number, ".seg")


def measure_task(span: int) -> Task:
    return Task("measure", span, ".json")


def report_task(suffix: str) -> Task:
    return Task("report", REPORTS.index(suffix), suffix)


def hash_task(number: int) -> Task:
    """The checksum of a film, or of a part of its evaluation, that a node has made and will publish."""
    return Task("print", number, ".txt")


def evaluation_windows(start: int, end: int, complete: bool) -> range:
    """The spans in which no frame is still to come, of the frames `[start, end)` that are known of a film.

    Span k has the frames `[k WINDOW_FRAMES, (k + 1) WINDOW_FRAMES)` of the source, as far as the film has them.
    """
    return range(start // WINDOW_FRAMES, -(-end // WINDOW_FRAMES) if complete else end // WINDOW_FRAMES)
