"""The schema of a job: all options, each in one place, and `JobSpec`, the record of one job that all nodes read.

Each field of `JobOptions` and `TypedOptions` is an option: its type, range, default and help, and what it changes. The
following are derived from these fields:

    the command line                                        fav.cli.options
    checks at submission, the comparison of two jobs        fav.pipeline.request
    the manifest's JSON and its checks                      JobSpec
    docs/reference/job-options.md                           fav.cli.options_table
    the fields of a form                                    form

A new option is one field here, and its use. An input file also has a field for its hash in `JobSpec`.

`fav.pipeline.option` says what one option is. This module imports nothing slow, because the supervisor of a node also
imports it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from msgspec import NODEFAULT, Struct
from msgspec.structs import asdict, fields

from fav.errors import FavError
from fav.flow import METHODS
from fav.pipeline.option import (
    CURE,
    CURVE,
    FRAMES,
    LAST_FRAME,
    OUTPUT,
    SCHEDULING,
    Frame,
    Option,
    OptionInfo,
    check_plain,
    format_value,
    is_valid_curve,
    option_of,
)
from fav.stylize.settings import (
    CROSSFADE,
    PRECISIONS,
    PROJECTIONS,
    SEGMENT_LENGTH,
    PostprocessSettings,
    StyleSettings,
    network_size,
)
from fav.util.curve import Curve
from fav.util.image_sequence import check_pattern, is_image_output
from fav.util.safe_path import resolve_input, resolve_inside
from shared.settings import LEASE_S, MIN_LEASE_S

if TYPE_CHECKING:
    from fav.video.codecs import EncoderSettings
    from fav.video.settings import SourceSettings

MAX_SIDE = 1 << 14  # pixels of width or height: the limit of x264; OpenCV's warp has twice this limit
MAX_PIXELS = 1 << 26  # of a frame: 8192x8192, the size of dome videos
CODECS = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")  # those of `fav.video.codecs`, which is slow to import
HARDWARE_CODECS = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_videotoolbox", "hevc_videotoolbox", "h264_vaapi", "hevc_vaapi",
                   "av1_vaapi")  # fmt: skip
CHUNK = 48  # frames of the shortest chunk of `--chunk auto`: its warmup of 7 frames adds a seventh of the work
LOSS_NETWORK = "squeezenet1_1"  # the default of --loss-network

File = TypeVar("File")  # an input: a path as it was typed, or, in a JobSpec, relative to the shared directory


def _flow_methods() -> dict[str, str]:
    return {name: method.summary for name, method in METHODS.items()}


class JobOptions(Struct, Generic[File], frozen=True, kw_only=True):
    """The options that a job records as they were typed. For input files, it records the paths of their copies."""

    flow: Annotated[str, OptionInfo(FRAMES, "Optical flow method.", choices=_flow_methods)] = "dis"
    flow_weights: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Weights for --flow spynet and spynet-half: the authors' directory of modelL{1..6}_F.t7, another of their sets "
            "('DIR/modelL%d_C.t7'; C, 3, 4 or K), a .pth or a .safetensors file. For raft-small, raft-large and liteflownet, a file "
            "of their library; if none is given, it downloads one.",
        ),
    ] = None
    flow_downscale: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "How many times --flow deepflow2 halves frames before it matches them. 0 is for small frames: it needs "
            "10 GB for 512x384.",
            0,
            4,
        ),
    ] = 2
    flow_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Flow from files instead of --flow: file N leads from frame N to frame N-1, counted from 0. .flo, 16-bit "
            "PNG in KITTI's format, .exr, or .npy.",
            metavar="bwd_%04d.flo",
        ),
    ] = None
    flow_forward_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Flow from files for the other direction: file N leads from frame N to frame N+1. A direction without "
            "files is computed by --flow.",
            metavar="fwd_%04d.flo",
        ),
    ] = None
    reliability_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Reliability of --flow-from from files, instead of the consistency check: .pgm or .png, white is reliable.",
            metavar="reliable_%04d.pgm",
        ),
    ] = None
    invert_reliability: Annotated[
        bool,
        OptionInfo(FRAMES, "In the files of --reliability-from, white is unreliable (as in occlusion maps)."),
    ] = False
    flow_first: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "Number of the flow file of frame 1, if files are not counted from 0. (Frame 0 is the video's first.)",
            0,
            LAST_FRAME,
        ),
    ] = 1
    flow_y_up: Annotated[bool, OptionInfo(FRAMES, "In the flow files, y points up, as in most renderers.")] = False
    init_frame: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "An image that is used as the stylized first frame (with --reverse: the last), resized to the film.",
            metavar="IMAGE",
            former="seed",
        ),
    ] = None
    first_frame_style: Annotated[
        File | None,
        OptionInfo(FRAMES, "A 3-channel image model that stylizes the first frame of each shot.", metavar="MODEL"),
    ] = None
    fps: Annotated[
        float | None,
        OptionInfo(  # it is converted to a fraction with a denominator of at most 1001
            FRAMES, "Frame rate of a numbered image sequence (dir/frame_%04d.png).", 0.001, 1000, unset="25"
        ),
    ] = None
    hdr: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "HDR video (PQ, HLG). tone-map: convert it to SDR before it is stylized. keep: stylize the stored values, "
            "and keep the color tags.",
            choices=("tone-map", "keep"),
        ),
    ] = "tone-map"
    deinterlace: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "Interlaced frames. auto: deinterlace them (bwdif). off: stylize them with comb artifacts.",
            choices=("auto", "off"),
        ),
    ] = "auto"
    cut_threshold: Annotated[
        float,
        OptionInfo(
            FRAMES,
            "How much a frame must differ from the one before to begin a shot; lower values find more cuts. "
            "(`fav cuts` shows them.)",
            1,
            255,
        ),
    ] = 27.0
    occlusion_erode: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "Size in pixels of the minimum filter that enlarges unreliable regions, an odd number; 1: none.",
            1,
            999,
            odd=True,
            former="min_filter",
        ),
    ] = 7
    occlusion_fill: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "What the network gets where the flow is unreliable.",
            choices=("vgg-mean", "uniform-random"),
            former="fill",
        ),
    ] = "vgg-mean"
    reverse: Annotated[
        bool, OptionInfo(FRAMES, "Stylize each shot from its last frame to its first.", former="backward")
    ] = False
    no_temporal: Annotated[
        bool,
        OptionInfo(
            FRAMES,
            "Stylize each frame without the previous one, for comparison: the film flickers.",
            former="independent",
        ),
    ] = False
    chunk: Annotated[
        int | None,
        OptionInfo(
            FRAMES,
            "Long shots are split into chunks of N frames, which several nodes stylize at the same time. Consecutive "
            f"chunks crossfade within {CROSSFADE} frames, which are stylized twice. Shots of fewer than three chunks are not "
            "split. auto: chunks of 48 to 240 frames, by the length and size of the film. Short films are not split, nor are films in "
            "styles that depend on many earlier frames.",
            CROSSFADE + 1,
            10**6 - 1,
            metavar="auto|N|off",
            unset="off",
        ),
    ] = None
    projection: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "equirectangular: a 360° video, twice as wide as high. Its frames are stylized as six overlapping faces of a cube, so "
            "that the film has no seam.",
            choices=PROJECTIONS,
        ),
    ] = PROJECTIONS[0]
    style_scale: Annotated[
        float,
        OptionInfo(
            FRAMES, "Size of the strokes: 2 is twice as large, with a quarter of the work.", 0.25, 4, metavar="S"
        ),
    ] = 1.0
    strength: Annotated[
        float | str,
        OptionInfo(
            OUTPUT,
            "Weight of the stylized frame: 1 is the style alone, 0 is the source. It may change over time, as in 0:0,5:1,40:0.3 "
            "(docs/how-to/over-time.md).",
            0,
            1,
            metavar=CURVE,
        ),
    ] = 1.0
    preserve_colors: Annotated[
        bool, OptionInfo(OUTPUT, "Keep the colors of the source, with the brightness of the stylized frame.")
    ] = False
    mask: Annotated[
        File | None,
        OptionInfo(
            OUTPUT,
            "Stylize only where this is white; gray blends both. An image, or a video or numbered images "
            "(dir/mask_%04d.png) with as many frames as the video; resized to the film.",
            metavar="VIDEO_OR_IMAGE",
        ),
    ] = None
    mask_strength: Annotated[
        float | str,
        OptionInfo(
            OUTPUT,
            "How much --mask counts: 1 is the mask as it is, 0 stylizes the whole frame. It may change over time, as --strength.",
            0,
            1,
            metavar=CURVE,
        ),
    ] = 1.0
    outside: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "A second style where --mask is black; gray blends both. Every frame is stylized in both styles, which takes twice the "
            "time. `stitch` can then change the mask without stylizing again.",
            metavar="STYLE",
        ),
    ] = None
    codec: Annotated[
        str,
        OptionInfo(
            OUTPUT,
            "Codec of the film. Names with _ are hardware encoders, which FFmpeg and the machine must have. Numbered "
            "images (--out 'dir/frame_%06d.png') have none.",
            choices=(*CODECS, *HARDWARE_CODECS),
        ),
    ] = CODECS[0]
    pixel_format: Annotated[
        str | None,
        OptionInfo(
            OUTPUT,
            "Pixel format of the film, by FFmpeg's name: yuv420p, yuv420p10, yuv422p10 and so on. With more than 8 bits, "
            "strength, mask, colors and crossfades are computed in 16.",
            metavar="NAME",
            unset="yuv420p; 10 bits for hevc, av1 and prores; RGB for ffv1",
        ),
    ] = None
    preset: Annotated[
        str | None,
        OptionInfo(
            OUTPUT,
            "Speed of the encoder: slow to veryfast for h264 and hevc, 0 (best) to 13 for av1, 0 to 8 for vp9. The profile of "
            "prores: proxy, lt, standard, hq, 4444, 4444xq.",
            metavar="NAME",
            unset="medium; 6 for av1, 2 for vp9; hq or 4444 for prores",
        ),
    ] = None
    crf: Annotated[
        int | None,
        OptionInfo(
            OUTPUT,
            "Quality of the film: lower is better and larger. Up to 51 for h264 and hevc, 63 for av1 and vp9.",
            0,
            63,
            unset="18; 20 for hevc, 24 for av1 and vp9",
        ),
    ] = None
    evaluate: Annotated[
        File | None,
        OptionInfo(
            OUTPUT,
            "Evaluate the film while it is made, also against this style image. Reports have the film's name with "
            ".evaluation.txt, .csv, .json and .png.",
            metavar="STYLE_IMAGE",
            job_only=True,
        ),
    ] = None
    loss_network: Annotated[
        File | None,
        OptionInfo(
            OUTPUT,
            "The network with which --evaluate computes style and content loss (`fav train --help`).",
            metavar="NAME|FILE",
            unset=f"{LOSS_NETWORK}, if it is available",
            job_only=True,
        ),
    ] = None
    threads: Annotated[
        int | None,
        OptionInfo(  # FRAMES, because their last bits may depend on it
            FRAMES, "CPU threads of every node.", 1, 1024, unset="all cores of its machine", job_only=True
        ),
    ] = None
    bit_exact: Annotated[
        bool,
        OptionInfo(SCHEDULING, "Only machines that compute the same bits may join.", job_only=True, former="strict"),
    ] = False
    keep_flow: Annotated[
        bool,
        OptionInfo(
            SCHEDULING,
            "Keep the published flow when the film is done. Stylized frames stay until `clean`.",
            job_only=True,
            former="keep",
        ),
    ] = False

    @property
    def source(self) -> "SourceSettings":
        """How to read the video."""
        from fav.video.settings import SourceSettings

        name = (getattr(self, "provenance", None) or {}).get("video")  # the user's path; the job may have a copy
        sphere = self.projection == "equirectangular"
        return SourceSettings(self.fps, name, self.hdr == "tone-map", self.deinterlace == "auto", sphere)


class TypedOptions(JobOptions[Path], frozen=True, kw_only=True):
    """All options of a job. Those added here become other fields of `JobSpec` (`records`), or are stored elsewhere."""

    width: Annotated[
        int | None,
        OptionInfo(
            FRAMES, "Width of the film in pixels; the height follows.", 16, MAX_SIDE, records=("width", "height")
        ),
    ] = None
    scale: Annotated[
        float | None,
        OptionInfo(FRAMES, "Size of the film relative to the video.", 0.01, 8, records=("width", "height")),
    ] = None
    range: Annotated[
        tuple[int, int | None],
        OptionInfo(
            FRAMES, "Only these frames, counted from 0, without STOP.", metavar="START:STOP", records=("start", "stop")
        ),
    ] = (0, None)
    frames: Annotated[
        int | None,
        OptionInfo(
            FRAMES,
            "Only the first N frames (of the range).",
            1,
            LAST_FRAME,
            metavar="N",
            records=("start", "stop"),
            former="test",
        ),
    ] = None
    no_cuts: Annotated[bool, OptionInfo(FRAMES, "The video is one shot: do not detect cuts.", records=("cuts",))] = (
        False
    )
    read_cuts: Annotated[
        Path | None,
        OptionInfo(
            FRAMES,
            "Read the cuts from a file: on each line, the number of a shot's first frame, counted from 0.",
            metavar="FILE.csv",
            records=("cuts",),
        ),
    ] = None
    mix: Annotated[
        tuple[tuple[Path, float | str], ...],
        OptionInfo(
            FRAMES,
            "Mix in another style of the same architecture; may be repeated. STYLE has the rest of the weight. STYLE@CURVE changes "
            "the weight over time, as in wave@0:1,10:0.",
            metavar="STYLE:WEIGHT",
            records=("mix_hashes", "mix_weights"),
        ),
    ] = ()
    precision: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "Precision of the network, and of SPyNet on CUDA. A processor without bfloat16 uses float32 anyway. "
            "auto: bfloat16 if the machine that submits the job supports it.",
            choices=("auto", *PRECISIONS),
        ),
    ] = "auto"
    flow_unchecked: Annotated[
        bool, OptionInfo(FRAMES, "Use flow files even if they do not fit the first frames.", records=())
    ] = False
    out: Annotated[
        str | None,
        OptionInfo(
            OUTPUT,
            "The film's name, relative to SHARED: .mp4, .mkv, .mov or .webm; or numbered images in a new directory: "
            "'dir/frame_%06d.png', .tif or .exr.",
            metavar="FILE",
            unset="the job's name",
            job_only=True,
        ),
    ] = None
    name: Annotated[
        str | None, OptionInfo(SCHEDULING, "The job's name.", unset="VIDEO--STYLE", records=(), job_only=True)
    ] = None
    lease: Annotated[
        float,
        OptionInfo(
            SCHEDULING,
            "Seconds of silence after which a node on another machine counts as dead.",
            MIN_LEASE_S,
            86400,
            records=(),
            job_only=True,
        ),
    ] = LEASE_S
    no_space_check: Annotated[
        bool,
        OptionInfo(
            SCHEDULING,
            "Create the job even if the shared directory seems too small for it.",
            records=(),
            job_only=True,
            former="no_room_check",
        ),
    ] = False


class JobSpec(JobOptions[str], frozen=True):
    """The record of a job. Paths are relative to the shared directory, sizes in pixels, frames counted from 0."""

    video: str
    video_hash: str  # of the video's content
    style: str
    style_hash: str
    width: Annotated[int, OptionInfo(least=1, most=MAX_SIDE)]
    height: Annotated[int, OptionInfo(least=1, most=MAX_SIDE)]
    out: str
    flow_weights_hash: str | None = None
    flow_from_hash: str | None = None
    flow_forward_from_hash: str | None = None
    reliability_from_hash: str | None = None
    first_frame_style_hash: str | None = None
    init_frame_hash: str | None = None
    mask_hash: str | None = None
    outside_hash: str | None = None
    evaluate_hash: str | None = None
    loss_network_hash: str | None = None
    mix: tuple[str, ...] = ()  # further styles
    mix_hashes: tuple[str, ...] = ()
    mix_weights: tuple[float | str, ...] = ()  # a text is a curve
    cuts: tuple[Frame, ...] | None = None  # None: detect them; empty: there are none
    start: Annotated[int, OptionInfo(least=0, most=LAST_FRAME)] = 0
    stop: Annotated[int | None, OptionInfo(least=1, most=LAST_FRAME + 1)] = None
    precision: Annotated[str, OptionInfo(choices=PRECISIONS)] = "float32"
    segment_frames: Annotated[int, OptionInfo(least=3, most=10**6)] = SEGMENT_LENGTH  # encoded as one task
    provenance: dict[str, str] | None = None  # only for people (`fav.pipeline.provenance`)
    origin: dict[str, str] | None = None  # for the film's metadata (`fav.pipeline.film_comment`)
    frames_of: str | None = (
        None  # the id of a job with the same frames, whose results are used (`fav.pipeline.same_frames`)
    )
    notes: tuple[str, ...] = ()  # on what the film will not have as the video has it
    product: Annotated[str, OptionInfo(choices=("film", "flow"))] = (
        "film"  # flow: of `fav flow --share`, without a style
    )

    def to_json(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict) -> "JobSpec":
        """Parse the JSON of a manifest.

        Raises:
            FavError: it is not valid, or needs another version of the program.
        """
        if not isinstance(record, dict):
            raise FavError(f"job: expected the options of a job, got {format_value(record)}; {CURE}")
        if "training" in record:
            raise FavError("job: expected one that makes a film, got one that learns a style")
        record = {
            FORMER.get(name, name) if FORMER.get(name) not in record else name: value for name, value in record.items()
        }
        if unknown := {str(name) for name in record} - set(FIELDS):
            raise FavError(
                f"job: expected options that this version knows, got {', '.join(sorted(unknown))[:200]!r}; "
                f"update this machine"
            )
        if missing := [name for name, field in FIELDS.items() if field.default is NODEFAULT and name not in record]:
            raise FavError(f"job: expected the options of a job, got none for {', '.join(missing)}; make the job again")
        spec = cls(**{name: FIELDS[name].read(value) for name, value in record.items()})
        for size, label in (((spec.width, spec.height), "film"), (spec.network_size, "network input")):
            check_size(size, label)
        if spec.stop is not None and spec.stop <= spec.start:
            raise FavError(f"job: expected frames from {spec.start} on, got none up to {spec.stop}; {CURE}")
        if not len(spec.mix) == len(spec.mix_hashes) == len(spec.mix_weights):
            raise FavError(
                f"job: expected a weight and a hash for each of {len(spec.mix)} further styles, got "
                f"{len(spec.mix_weights)} and {len(spec.mix_hashes)}; {CURE}"
            )
        check_weights(spec.mix_weights)
        inputs = [name for name in INPUT_FIELDS if name != "style" or not spec.is_flow]
        for path in (*(getattr(spec, name) for name in ("video", *inputs, "out")), *spec.mix):
            resolve_inside(Path("/"), path)
        if spec.is_images:
            check_pattern(spec.out, "job: ")
        for name in set(FIELDS) - {"video", *INPUT_FIELDS}:
            if isinstance(value := getattr(spec, name), str):
                check_plain(f"job: {name}", value)
        return spec

    def style_settings(self, root: Path) -> StyleSettings:
        """The settings of stylized frames, with the paths of this machine.

        Raises:
            FavError: as for `resolve_input`.
        """
        return StyleSettings(
            style=resolve_input(root, self.style),
            size=self.network_size,
            flow=self.flow,
            flow_weights=resolve_input(root, self.flow_weights),
            flow_downscale=self.flow_downscale,
            flow_from=resolve_input(root, self.flow_from),
            flow_forward_from=resolve_input(root, self.flow_forward_from),
            reliability_from=resolve_input(root, self.reliability_from),
            invert_reliability=self.invert_reliability,
            flow_first=self.flow_first,
            flow_y_up=self.flow_y_up,
            first_frame_style=resolve_input(root, self.first_frame_style),
            init_frame=resolve_input(root, self.init_frame),
            occlusion_erode=self.occlusion_erode,
            occlusion_fill=self.occlusion_fill,
            projection=self.projection,
            key=self.video_hash + self.style_hash,
            mix=tuple(
                (resolve_input(root, style), Curve.of(weight)) for style, weight in zip(self.mix, self.mix_weights)
            ),
            precision=self.precision,
            outside=resolve_input(root, self.outside),
        )

    def postprocess_settings(self, root: Path) -> PostprocessSettings:
        """The settings of postprocessing, with the paths of this machine. Errors as for `style_settings`."""
        return PostprocessSettings(
            (self.width, self.height),
            Curve.of(self.strength),
            self.preserve_colors,
            resolve_input(root, self.mask),
            self.encoder.bits > 8,
            Curve.of(self.mask_strength),
            self.outside is not None,
        )

    @property
    def encoder(self) -> "EncoderSettings":
        """The encoder settings of the film. This machine may lack the encoder."""
        from fav.video.codecs import film_settings

        return film_settings(
            self.out, self.codec, pixel_format=self.pixel_format, preset=self.preset, crf=self.crf, check=False
        )

    @property
    def is_flow(self) -> bool:
        """Whether the job writes files of optical flow (`fav.pipeline.flow_plan`), and `out` is their directory."""
        return self.product == "flow"

    @property
    def is_images(self) -> bool:
        """Whether the film is a directory of numbered images."""
        return is_image_output(self.out)

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) at which the network runs."""
        return network_size((self.width, self.height), self.style_scale)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(width, height) of the published stylized frames: with `outside`, they have two of `network_size`."""
        width, height = self.network_size
        return width, 2 * height if self.outside else height

    def film(self, root: Path) -> Path:
        """The path of the film; for numbered images, that of their directory."""
        out = resolve_inside(root, self.out)
        return out.parent if self.is_images else out


def _order(option: Option) -> tuple[bool, bool]:
    """Sort key: options for all films come first; among these, first size, frames and cuts."""
    return option.job_only, option.name in JobOptions.__struct_fields__


OPTIONS = {each.name: each for each in sorted(map(option_of, fields(TypedOptions)), key=_order)}
FIELDS = {field.name: option_of(field) for field in fields(JobSpec)}
_RECORDED = JobOptions.__struct_fields__
INPUT_FIELDS = ("style", *(name for name in _RECORDED if f"{name}_hash" in FIELDS))  # input files, besides the video
LINKED_INPUTS = ("flow_from", "flow_forward_from", "reliability_from")  # large inputs, which may have gaps at cuts
FORMER = {  # names of fields in manifests of the previous version, and their present names
    **{f"{name}_print": f"{name}_hash" for name in ("video", *INPUT_FIELDS)},
    "mix_prints": "mix_hashes",
    **{field.former: name for name, field in FIELDS.items() if field.former},
    **{f"{FIELDS[name].former}_print": f"{name}_hash" for name in INPUT_FIELDS if FIELDS[name].former},
}
VALUE_FIELDS = tuple(name for name in _RECORDED if name not in INPUT_FIELDS)  # recorded as they are typed


def form() -> list[dict[str, Any]]:
    """The fields of a form for a new job, as plain values: one for each option, in the order of the help.

    Each has `name`, `type`, `default`, `least`, `most`, `choices`, `help`, `changes` and `unset`, the meaning of no
    value.
    """
    return [
        {
            "name": each.name,
            "type": each.kind,
            "default": each.default,
            "least": each.least,
            "most": each.most,
            "choices": list(each.allowed_values),
            "help": each.help,
            "changes": each.changes,
            "unset": each.unset,
        }
        for each in OPTIONS.values()
    ]


def check_size(size: tuple[int, int], label: str) -> None:
    """Raise FavError if frames of (width, height) are too small or too large. `label` begins the message."""
    width, height = size
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise FavError(
            f"{label}: expected 1 to {MAX_SIDE} pixels per side and at most {MAX_PIXELS} in total, got "
            f"{width}x{height}; choose another --width, --scale or --style-scale"
        )


def check_weights(weights: tuple[float | str, ...]) -> None:
    """Check the weights of further styles.

    Raises:
        FavError: A number is not positive, their sum is not less than 1, or a text is no curve from 0 to 1.
    """
    numbers = [weight for weight in weights if not isinstance(weight, str)]
    for weight in weights:
        if isinstance(weight, str) and not is_valid_curve(weight, 0, 1):
            raise FavError(f"--mix: expected a curve from 0 to 1, such as 0:1,10:0, got {format_value(weight)}")
    if not all(weight > 0 for weight in numbers) or not sum(numbers) < 1:
        raise FavError(
            f"--mix: expected weights above 0 with a sum below 1, got {', '.join(f'{weight:g}' for weight in numbers)}"
        )
