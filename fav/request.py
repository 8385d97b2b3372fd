"""A user's wish: a video, a style and options, as they were typed."""

from dataclasses import dataclass
from pathlib import Path

from shared.nodes import LEASE_S

from .errors import FavError
from .spec import RANGES, Choices, check_weights

LOSS_NETWORK = "squeezenet1_1"  # the one that is looked through if nobody says


@dataclass(frozen=True)
class Request(Choices):
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
        if self.out is not None and (Path(self.out).is_absolute() or ".." in Path(self.out).parts):
            raise FavError(f"--out: expected a name inside SHARED, got {self.out}")
        check_range(*self.range)
        check_weights(tuple(weight for _, weight in self.mix))
        for option in ("strength", "style_scale"):
            least, most = RANGES[option]
            if not least <= (value := getattr(self, option)) <= most:
                raise FavError(f"--{option.replace('_', '-')}: expected a number from {least:g} to {most:g}, got {value:g}")
        if self.min_filter < 1 or self.min_filter % 2 == 0:
            raise FavError(f"--min-filter: expected an odd number of pixels (1 switches it off), got {self.min_filter}")


def check_cuts(no_cuts: bool, read_cuts: Path | None) -> None:
    """FavError where both are asked for."""
    if no_cuts and read_cuts:
        raise FavError("--no-cuts and --read-cuts: expected one of them, got both")


def check_range(start: int, stop: int | None) -> None:
    """FavError unless there may be frames from `start` on to before `stop`."""
    if start < 0 or stop is not None and stop <= start:
        raise FavError(f"--range: expected START:STOP with 0 <= START < STOP, got {start}:{'' if stop is None else stop}")
