"""The settings of stylized frames, and of their postprocessing."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from fav.util.curve import Curve

CROSSFADE = 7  # frames of the crossfade from one chunk of a shot to the next
SEGMENT_LENGTH = 144  # frames that one task encodes, at most: some 5 s of film, so that the last task is short
PRECISIONS = ("float32", "bfloat16")
PROJECTIONS = ("flat", "equirectangular")


@dataclass(frozen=True)
class StyleSettings:
    """All settings that change the pixels of stylized frames.

    `fav.pipeline.spec` describes the options with the same names. `flow_from` to `flow_y_up` are those of
    `fav.flow.files.FlowFiles`.

    Attributes:
        size: (width, height) at which the network runs.
        precision: bfloat16 is used only if the processor supports it, otherwise float32.
        key: seed of random fills.
        mix: further styles and their weights over time.
        outside: the style of the second half of each frame (`fav.stylize.outside`).
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
    projection: str = PROJECTIONS[0]
    key: str = ""
    mix: tuple[tuple[Path, Curve], ...] = ()
    outside: Path | None = None


@dataclass(frozen=True)
class PostprocessSettings:
    """The settings of `fav.stylize.postprocess`. They change only the film, not the published frames.

    Attributes:
        size: (width, height) of the film.
        strength: weight of the stylized frame over time, 0 to 1.
        preserve_colors: keep the chroma of the source.
        mask: an image, video or image sequence; the film is stylized where it is white.
        sixteen_bit: return uint16 frames, for a film of more than 8 bits.
        mask_strength: how much the mask counts over time: 1 is the mask as it is, 0 is as without a mask.
        outside: whether frames have a second style (`fav.stylize.outside`), which the film has where the mask is black.
    """

    size: tuple[int, int]
    strength: Curve
    preserve_colors: bool
    mask: Path | None
    sixteen_bit: bool = False
    mask_strength: Curve = Curve.constant(1)
    outside: bool = False

    @property
    def needs_source(self) -> bool:
        masked = self.mask is not None and not self.outside
        return self.preserve_colors or not self.strength.is_always(1) or masked


def network_size(size: tuple[int, int], style_scale: float) -> tuple[int, int]:
    """The size (width, height) at which the network runs. Strokes are then `style_scale` times as large in the film."""
    width, height = (max(round(side / style_scale), 1) for side in size)
    return width, height
