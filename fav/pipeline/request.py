"""A user's wish: a video, a style and options, as they were typed."""

from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError
from fav.pipeline.spec import LAST_FRAME, RANGES, JobOptions, check_plain, check_weights
from shared.settings import LEASE_S, SHORTEST_LEASE_S

LOSS_NETWORK = "squeezenet1_1"  # the one that is looked through if nobody says
LONGEST_NAME = 150  # bytes of a film's file name: what is written beside it has longer ones, and file systems end at 255
LIMITS = {  # of the options that are numbers, from the least to the most
    **{name: RANGES[name] for name in ("crf", "min_filter", "threads", "fps", "strength", "style_scale", "chunk")},
    "width": (16, RANGES["width"][1]), "scale": (0.01, 8), "test": (1, LAST_FRAME), "lease": (SHORTEST_LEASE_S, 86400),
}  # fmt: skip


@dataclass(frozen=True)
class Request(JobOptions):
    """A video, a style and the options as they were typed. `given` names those that were typed at all.

    loss_network is a file or the name of a published network; None for the one that is used if nobody says.
    """

    video: str
    style: Path
    name: str | None = None
    lease: float = LEASE_S
    given: frozenset[str] = frozenset()
    out: str | None = None
    flow_weights: Path | None = None
    first_frame_style: Path | None = None
    seed: Path | None = None
    mask: Path | None = None
    evaluate: Path | None = None
    loss_network: Path | None = None
    mix: tuple[tuple[Path, float], ...] = ()
    read_cuts: Path | None = None
    cuts: tuple[int, ...] | None = None  # what was read from `read_cuts`
    no_cuts: bool = False
    range: tuple[int, int | None] = (0, None)
    test: int | None = None
    width: int | None = None
    scale: float | None = None
    no_room_check: bool = False
    precision: str = "auto"

    def check(self) -> None:
        """FavError for options that exclude each other or make no sense; looks at no file."""
        if self.seed and self.first_frame_style:
            raise FavError("--seed and --first-frame-style: expected one of them, got both; the seed is the first frame")
        check_cuts(self.no_cuts, self.read_cuts)
        if self.loss_network and not self.evaluate:
            raise FavError("--loss-network: expected with --evaluate; nothing else looks through it")
        if self.width and self.scale:
            raise FavError("--width and --scale: expected one of them, got both")
        if self.out is not None:
            check_out(self.out)
        check_range(*self.range)
        check_weights(tuple(weight for _, weight in self.mix))
        for option, (least, most) in LIMITS.items():
            if (value := getattr(self, option)) is not None and not least <= value <= most:
                raise FavError(f"--{option.replace('_', '-')}: expected a number from {least} to {most}, got {value}")
        if self.min_filter % 2 == 0:
            raise FavError(f"--min-filter: expected an odd number of pixels (1 switches it off), got {self.min_filter}")


def check_cuts(no_cuts: bool, read_cuts: Path | None) -> None:
    """FavError where both are asked for."""
    if no_cuts and read_cuts:
        raise FavError("--no-cuts and --read-cuts: expected one of them, got both")


def check_out(out: str) -> None:
    """FavError unless it is the name of a file inside a directory, and not too long."""
    path = Path(out)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise FavError(f"--out: expected a name inside SHARED, got {out}")
    check_plain("--out", out)
    if len(path.name.encode()) > LONGEST_NAME or len(out.encode()) > 900 or max(len(part.encode()) for part in path.parts) > 255:
        raise FavError(f"--out: expected a name of at most {LONGEST_NAME} bytes, in directories of at most 255 each and 900 in "
                       f"all, got {out[:80]}…")


def check_range(start: int, stop: int | None) -> None:
    """FavError unless there may be frames from `start` on to before `stop`."""
    if start < 0 or stop is not None and stop <= start:
        raise FavError(f"--range: expected START:STOP with 0 <= START < STOP, got {start}:{'' if stop is None else stop}")
    if max(start, (stop or 1) - 1) > LAST_FRAME:
        raise FavError(f"--range: expected frames up to {LAST_FRAME}, got {start}:{'' if stop is None else stop}")
