"""The settings that decide a stylized pixel, and those that decide the film made of it."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

CROSSFADE = 7  # frames in which one chunk of a shot passes over into the next
# frames of a film that are encoded as one task, at most: some 5 s, so that nobody waits long for the last one
SEGMENT_LENGTH = 144
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class StyleSettings:
    """Everything that decides a stylized pixel.

    `size` is (width, height), at which the network runs; `key` seeds random fills; `mix` are styles that are mixed into
    the first, and their weights. `precision` is what networks may be computed in: bfloat16 where the processor is made
    for it, else float32 all the same. `flow_from` and the fields behind it are those of `fav.flow.files.FlowFiles`. Defaults and ranges of options are in `fav.pipeline.spec`.
    """

    style: Path
    size: tuple[int, int]
    flow: str
    flow_weights: Path | None = None
    first_frame_style: Path | None = None
    init_frame: Path | None = None
    _: KW_ONLY
    occlusion_erode: int
    occlusion_fill: str
    precision: str
    flow_downscale: int = 2
    flow_from: Path | None = None
    flow_forward_from: Path | None = None
    reliability_from: Path | None = None
    invert_reliability: bool = False
    flow_first: int = 1
    flow_y_up: bool = False
    key: str = ""
    mix: tuple[tuple[Path, float], ...] = ()


@dataclass(frozen=True)
class PostprocessSettings:
    """What is done to stylized frames when the film is made: a film of `size`, (width, height), and how much of the style
    is seen in it, as in `fav.stylize.blend`. It decides no stylized pixel: other films can be made of the same frames.

    `deep` makes frames of 16 bits, for a film of more than 8."""

    size: tuple[int, int]
    strength: float
    preserve_colors: bool
    mask: Path | None
    deep: bool = False

    @property
    def needs_source(self) -> bool:
        return self.preserve_colors or self.strength != 1 or self.mask is not None


def network_size(size: tuple[int, int], style_scale: float) -> tuple[int, int]:
    """The size at which a film of `size` goes through the network, so that strokes come `style_scale` times as large."""
    width, height = (max(round(side / style_scale), 1) for side in size)
    return width, height
