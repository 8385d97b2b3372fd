"""The record of one film job: every option that decides the result, so that all nodes agree.

Nothing heavy is imported here: the supervisor of a node reads it, too.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

from fav.errors import FavError, plain
from fav.stylize.settings import LEAD, PRECISIONS, PostprocessSettings, StyleSettings, network_size
from fav.util.safe_path import brought, inside

LAST_FRAME = 10**12 - 1  # as many digits as the name of a task has
MOST_SIDE = 1 << 14  # pixels of a picture: x264 takes no more, and OpenCV warps no more than twice as many
MOST_PIXELS = 1 << 26  # of a picture, 8192x8192: domes have as many, and no network is known to be given more
# What a job may have: the command line offers these, and nodes serve no others. `fps` is written as a fraction of at most 1001.
RANGES = {"width": (1, MOST_SIDE), "height": (1, MOST_SIDE), "start": (0, LAST_FRAME), "stop": (1, LAST_FRAME + 1), "crf": (0, 51),
          "min_filter": (1, 999), "threads": (1, 1024), "fps": (0.001, 1000), "strength": (0, 1),
          "style_scale": (0.25, 4), "chunk": (LEAD + 1, 10**6 - 1)}  # fmt: skip
PATHS = ("video", "style", "flow_weights", "first_frame_style", "seed", "mask", "evaluate", "loss_network", "out")
LISTS = {"cuts": int, "mix": str, "mix_prints": str, "mix_weights": float}  # fields of the spec that are lists, and of what


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options that a job records just as they were typed. `fps` is the rate of an image sequence, `chunk` the frames
    of the parts that long shots are painted in at the same time (None: shots stay whole)."""

    strength: float = 1.0
    preserve_colors: bool = False
    style_scale: float = 1.0
    fps: float | None = None
    flow: str = "dis"
    min_filter: int = 7
    fill: str = "vgg-mean"
    backward: bool = False
    independent: bool = False
    chunk: int | None = None
    crf: int = 18
    keep: bool = False
    threads: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class JobSpec(JobOptions):
    """Options of a job. Paths are relative to the shared directory; sizes in pixels; frames count from 0."""

    video: str
    video_print: str  # fingerprint of the video's content
    style: str
    style_print: str
    width: int
    height: int
    out: str
    flow_weights: str | None = None
    flow_weights_print: str | None = None
    first_frame_style: str | None = None
    first_frame_style_print: str | None = None
    seed: str | None = None
    seed_print: str | None = None
    mask: str | None = None
    mask_print: str | None = None
    evaluate: str | None = None  # the image against which the film is measured while it is made; None: it is not
    evaluate_print: str | None = None
    loss_network: str | None = None  # None: style and content loss are not measured
    loss_network_print: str | None = None
    mix: tuple[str, ...] = ()  # styles that are mixed in
    mix_prints: tuple[str, ...] = ()
    mix_weights: tuple[float, ...] = ()
    cuts: tuple[int, ...] | None = None  # None: detect them; empty: there are none
    start: int = 0
    stop: int | None = None
    precision: str = "float32"

    def to_json(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict) -> "JobSpec":
        """FavError where the record is not one of a film job that this version can serve."""
        names = {field.name for field in fields(cls)}
        if unknown := set(record) - names:
            raise FavError(f"job: it has options that this version does not know ({', '.join(sorted(unknown))[:200]!r}); update this machine")
        try:
            lists = {name: tuple(map(kind, record[name])) for name, kind in LISTS.items()
                     if name in record and (record[name] is not None or name != "cuts")}
            spec = cls(**{**record, **lists})
        except (TypeError, ValueError, OverflowError) as error:
            raise FavError(f"job: expected the options of a film, got a record that is not ({str(error)[:200]!r})") from None
        for name, kind in get_type_hints(cls).items():
            kind = kind | int if kind in (float, float | None) else kind
            if name not in LISTS and not isinstance(getattr(spec, name), kind):
                raise FavError(f"job: expected {name} to be {kind}, got {repr(getattr(spec, name))[:200]}")
            if isinstance(value := getattr(spec, name), str) and (name not in PATHS or name == "out"):
                check_plain(f"job: {name}", value)
        for name, (least, most) in RANGES.items():
            if (value := getattr(spec, name)) is not None and not least <= value <= most:
                raise FavError(f"job: expected {name} from {least:g} to {most:g}, got {repr(value)[:200]}")
        for size, what in (((spec.width, spec.height), "film"), (spec.network_size, "picture for the network")):
            check_size(size, what)
        if spec.min_filter % 2 == 0:
            raise FavError(f"job: expected an odd min_filter, got {spec.min_filter}")
        if spec.cuts and not all(0 <= cut <= LAST_FRAME for cut in (min(spec.cuts), max(spec.cuts))):
            raise FavError(f"job: expected cuts from 0 to {LAST_FRAME}, got others")
        if spec.stop is not None and spec.stop <= spec.start:
            raise FavError(f"job: expected frames from {spec.start} on, got none up to {spec.stop}")
        if spec.precision not in PRECISIONS:
            raise FavError(f"job: expected precision {' or '.join(PRECISIONS)}, got {spec.precision[:200]!r}")
        if not len(spec.mix) == len(spec.mix_prints) == len(spec.mix_weights):
            raise FavError(f"job: expected a weight and a print for each of {len(spec.mix)} styles that are mixed in")
        check_weights(spec.mix_weights)
        for name in PATHS:
            inside(Path("/"), getattr(spec, name))
        for style in spec.mix:
            inside(Path("/"), style)
        return spec

    def look(self, root: Path) -> StyleSettings:
        """What decides a pixel, with paths on this machine; FavError where one of them is not what `brought` promises."""
        return StyleSettings(style=brought(root, self.style), size=self.network_size, flow=self.flow,
                    flow_weights=brought(root, self.flow_weights), first_frame_style=brought(root, self.first_frame_style),
                    seed=brought(root, self.seed), min_filter=self.min_filter, fill=self.fill,
                    key=self.video_print + self.style_print,
                    mix=tuple((brought(root, style), weight) for style, weight in zip(self.mix, self.mix_weights)),
                    precision=self.precision)

    def finish(self, root: Path) -> PostprocessSettings:
        """How the film is made of the stylized frames; FavError as for `look`."""
        return PostprocessSettings((self.width, self.height), self.strength, self.preserve_colors, brought(root, self.mask))

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) of the stylized frames as they are published."""
        return network_size((self.width, self.height), self.style_scale)

    def film(self, root: Path) -> Path:
        """Where the user finds the film."""
        return inside(root, self.out)

    def differences(self, given: dict) -> list[str]:
        """Options in `given` that are not those of this job, each in words."""
        mine = self.to_json()
        return [f"{name.rpartition('_')[0].replace('_', '-')} has another content" if name.endswith(("_print", "_prints")) else
                f"{name.replace('_', '-')} is {_words(mine[name])}, not {_words(value)}"
                for name, value in sorted(given.items()) if mine[name] != value]


def check_size(size: tuple[int, int], what: str) -> None:
    """FavError unless pictures of (width, height) can be painted and written."""
    width, height = size
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE and width * height <= MOST_PIXELS):
        raise FavError(f"{what}: expected 1 to {MOST_SIDE} pixels a side and at most {MOST_PIXELS} in all, got {width}x{height}; "
                       f"choose another --width, --scale or --style-scale")


def check_plain(what: str, text: str) -> None:
    """FavError unless a terminal shows each letter of a text as it is."""
    if text != plain(text, len(text)):
        raise FavError(f"{what}: expected letters that can be seen, got {ascii(text)[:200]}")


def check_weights(weights: tuple[float, ...]) -> None:
    """FavError unless each of the styles that are mixed in has a weight, and the first keeps some."""
    if not all(weight > 0 for weight in weights) or not sum(weights) < 1:
        raise FavError(f"--mix: expected weights above 0 that leave something of 1 to the first style, got "
                       f"{', '.join(f'{weight:g}' for weight in weights)}")


def _words(value) -> str:
    return "unset" if value is None else ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
