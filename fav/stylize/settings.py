"""The settings of stylized frames, and those of the film that is made of them."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

CROSSFADE = 7  # frames of the crossfade from one chunk of a shot to the next
SEGMENT_LENGTH = 144  # frames of a film that are encoded as one task, at most: some 5 s, so that the last one ends soon
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class StyleSettings:
    """All settings that change the pixels of stylized frames.

    `size` is (width, height) at which the network runs. `key` seeds random fills. `mix` has further styles and their
    weights. `precision` bfloat16 is used only if the processor supports it, else float32. `flow_from` to `flow_y_up` are
    those of `fav.flow.files.FlowFiles`. `fav.pipeline.spec` has the defaults and ranges of all options.
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
    """The settings of `fav.stylize.postprocess`. They change only the film (of `size`, width and height), not the frames.

    `sixteen_bit` makes frames of 16 bits, for a film of more than 8.
    """

    size: tuple[int, int]
    strength: float
    preserve_colors: bool
    mask: Path | None
    sixteen_bit: bool = False

    @property
    def needs_source(self) -> bool:
        return self.preserve_colors or self.strength != 1 or self.mask is not None


def network_size(size: tuple[int, int], style_scale: float) -> tuple[int, int]:
    """The size (width, height) at which the network runs, so that strokes are `style_scale` times as large in the film."""
    width, height = (max(round(side / style_scale), 1) for side in size)
    return width, height
