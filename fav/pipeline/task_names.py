"""The names of a video job's tasks."""

from pathlib import Path

from fav.pipeline.spec import JobSpec
from fav.stylize.chain import FrameChain
from shared.paths import Task

FRAME_KINDS = ("frame", "warmup")  # kinds of tasks that stylize a frame
FLOW_KINDS = ("bwd", "fwd")  # kinds of tasks of a job that writes flow, besides `trust`
EVALUATION_KINDS = frozenset({"measure", "report"})  # kinds of tasks of an evaluation
# Kinds that may fail: a frame task computes missing flow itself, and an index task decodes a missing range.
# A training goes on without the contact sheets between its tasks.
OPTIONAL_KINDS = EVALUATION_KINDS | {"flow", "survey", "decode", "face", "sheet"}
INTERMEDIATE_KINDS = frozenset(
    {"flow", "encode", "survey", "decode", "face"}
)  # kinds whose results a finished job does not need
WINDOW_FRAMES = 50  # frames of an evaluation window, which one task measures; it also reads the second before them
REPORTS = (".txt", ".csv", ".json", ".png")  # formats of the evaluation
FLOW_AHEAD = 64  # published flows ahead of the current frame of a chain; this limits their disk space


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


def backward_task(frame: int) -> Task:
    """The flow from a frame to the one before it, as a .flo file."""
    return Task("bwd", frame, ".flo")


def forward_task(frame: int) -> Task:
    """The flow from a frame to the one after it, as a .flo file."""
    return Task("fwd", frame, ".flo")


def trust_task(frame: int) -> Task:
    """The reliability of the backward flow of a frame."""
    return Task("trust", frame, ".pgm")


def frame_task(frame: int) -> Task:
    return Task("frame", frame, ".png")


def face_task(number: int) -> Task:
    """The task of a cube face of a 360° video; six times the frame's number, plus that of the face."""
    return Task("face", number, ".png")


def warmup_task(frame: int) -> Task:
    return Task("warmup", frame, ".png")


def stylize_task(chain: FrameChain, position: int) -> Task:
    """The task that stylizes the frame at a position of a chain."""
    return (warmup_task if chain.is_warmup(position) else frame_task)(chain.frame(position))


def stitch_task(spec: JobSpec) -> Task:
    """The task of the film. Numbered images are in one tar archive until they are delivered."""
    return Task("stitch", 0, ".tar" if spec.is_images else Path(spec.out).suffix)


def encode_task(number: int) -> Task:
    """The task that encodes a segment of the film, counted from 0."""
    return Task("encode", number, ".seg")


def measure_task(window: int) -> Task:
    return Task("measure", window, ".json")


def report_task(suffix: str) -> Task:
    return Task("report", REPORTS.index(suffix), suffix)


def hash_task(number: int) -> Task:
    """The task name of a checksum: of a film, or of an evaluation report, that a node will publish."""
    return Task("print", number, ".txt")


def evaluation_windows(start: int, end: int, complete: bool) -> range:
    """The numbers of the evaluation windows whose frames are all known.

    Window k has the frames `[k WINDOW_FRAMES, (k + 1) WINDOW_FRAMES)` of the source that are in the film.

    Args:
        start: the first frame of the film.
        end: one past the last known frame.
        complete: whether the film ends at `end`.
    """
    return range(start // WINDOW_FRAMES, -(-end // WINDOW_FRAMES) if complete else end // WINDOW_FRAMES)
