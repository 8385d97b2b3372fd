"""The options of a job, each stated once, and the record of one job, by which all nodes agree.

Each field of `JobOptions` and `TypedOptions` is an option: its type, range, default and help, and what it changes. From
these fields follow the command line (`fav.cli.options`), the checks at submission and the words in which two jobs
differ (`fav.pipeline.request`), the manifest's JSON and its checks (`JobSpec`), docs/reference/job-options.md
(`fav.cli.options_table`) and the fields of a form (`form`). A new option is one field here, and its use. An input file
also has a field for its fingerprint in `JobSpec`.

Nothing heavy is imported here: the supervisor of a node reads it, too.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, asdict, fields

from fav.errors import FavError, sanitize
from fav.flow import METHODS
from fav.stylize.settings import CROSSFADE, PRECISIONS, SEGMENT_LENGTH, PostprocessSettings, StyleSettings, network_size
from fav.util.image_sequence import check_pattern, is_image_output
from fav.util.safe_path import resolve_input, resolve_inside
from shared.settings import LEASE_S, MIN_LEASE_S

if TYPE_CHECKING:
    from fav.video.codecs import EncoderSettings
    from fav.video.settings import SourceSettings

LAST_FRAME = 10**12 - 1  # as many digits as the name of a task has
MAX_SIDE = 1 << 14  # pixels of a picture: x264 takes no more, and OpenCV warps no more than twice as many
MAX_PIXELS = 1 << 26  # of a picture, 8192x8192: domes have as many, and no network is known to be given more
CODECS = ("h264", "hevc", "av1", "vp9", "prores", "ffv1")  # of `fav.video.codecs`, which is slow to import
HARDWARE_CODECS = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_videotoolbox", "hevc_videotoolbox", "h264_vaapi", "hevc_vaapi",
                   "av1_vaapi")  # fmt: skip
CHUNK = 48  # frames, the least that `--chunk auto` takes: 7 more for each are a seventh of the work
AUTO_CHUNK = 0  # what a request has for `--chunk auto`, until `fav.pipeline.chunking` decides
LOSS_NETWORK = "squeezenet1_1"  # the one that measures if nobody names another

FRAMES, OUTPUT, SCHEDULING = "the frames", "only the output", "only the scheduling"  # what an option changes
CURE = "update this machine, or make the job again"
Frame = Annotated[int, Meta(ge=0, le=LAST_FRAME)]  # its number
File = TypeVar("File")  # an input: a path as it was typed, or, in the record, one relative to the shared directory


class OptionInfo(Struct, frozen=True):
    """What is said of an option, or of a field of the record, besides its type and default.

    Attributes:
        changes: FRAMES, OUTPUT or SCHEDULING; empty for a field that is no option.
        text: What the option does, for people, without a list of its choices.
        least: The smallest number.
        most: The largest number.
        choices: The words that it may be; or a function of them with a summary each, where they are slow to find.
        odd: Whether even numbers are refused.
        metavar: What stands for the value in the help.
        unset: In words, what None stands for.
        records: Fields of the record that follow from it, where they are not its namesake.
        job_only: Whether it means something only for a job in a shared directory.
        former: Its name in the version before, which command lines and records of jobs may still have.
    """

    changes: str = ""
    text: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] | Callable[[], dict[str, str]] = ()
    odd: bool = False
    metavar: str | None = None
    unset: str | None = None
    records: tuple[str, ...] | None = None
    job_only: bool = False
    former: str | None = None


def _flow_methods() -> dict[str, str]:
    return {name: method.summary for name, method in METHODS.items()}


class JobOptions(Struct, Generic[File], frozen=True, kw_only=True):
    """The options that a job records as they were typed. Of input files it records where their copies are."""

    flow: Annotated[str, OptionInfo(FRAMES, "Optical flow method.", choices=_flow_methods)] = "dis"
    flow_weights: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Weights for --flow spynet: the authors' directory of modelL{1..6}_F.t7, another of their sets "
            "('DIR/modelL%d_C.t7'; C, 3, 4 or K), a .pth or a .safetensors file. For raft-small, raft-large and liteflownet, a file "
            "of their library; if none is given, it downloads one.",
        ),
    ] = None
    flow_downscale: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "How many times --flow deepflow2 halves frames before it matches them. 0 is for small frames: it takes 10 GB "
            "for 512x384.",
            0,
            4,
        ),
    ] = 2
    flow_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Flow from files in place of --flow: file N leads from frame N to frame N-1, counted from 0. .flo, 16-bit PNG "
            "as of KITTI, .exr, or .npy.",
            metavar="bwd_%04d.flo",
        ),
    ] = None
    flow_forward_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "The same for the other direction: file N leads from frame N to frame N+1. What is not given is computed "
            "by --flow.",
            metavar="fwd_%04d.flo",
        ),
    ] = None
    reliability_from: Annotated[
        File | None,
        OptionInfo(
            FRAMES,
            "Where the flow of --flow-from may be trusted, in place of the consistency check: .pgm or .png, white is reliable.",
            metavar="reliable_%04d.pgm",
        ),
    ] = None
    invert_reliability: Annotated[
        bool,
        OptionInfo(FRAMES, "In the files of --reliability-from, white is not reliable (as in maps of occlusions)."),
    ] = False
    flow_first: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "Number of the flow file of frame 1, if they do not count from 0. (Frame 0 is the video's first.)",
            0,
            LAST_FRAME,
        ),
    ] = 1
    flow_y_up: Annotated[bool, OptionInfo(FRAMES, "In the flow files y counts upwards, as in most renderers.")] = False
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
        OptionInfo(FRAMES, "A 3-channel image model that paints the first frame of each shot.", metavar="MODEL"),
    ] = None
    fps: Annotated[
        float | None,
        OptionInfo(  # a fraction of at most 1001 is made of it
            FRAMES, "Frame rate of a numbered image sequence (dir/frame_%04d.png).", 0.001, 1000, unset="25"
        ),
    ] = None
    hdr: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "HDR video (PQ, HLG). tone-map: brought to SDR before it is stylized. keep: stylized as it is stored, "
            "and tagged so.",
            choices=("tone-map", "keep"),
        ),
    ] = "tone-map"
    deinterlace: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "Interlaced frames. auto: made whole (bwdif). off: stylized with their combs.",
            choices=("auto", "off"),
        ),
    ] = "auto"
    cut_threshold: Annotated[
        float,
        OptionInfo(
            FRAMES,
            "How much a picture must differ from the one before to begin a shot; lower finds more cuts. (`fav cuts` shows "
            "them.)",
            1,
            255,
        ),
    ] = 27.0
    occlusion_erode: Annotated[
        int,
        OptionInfo(
            FRAMES,
            "Unreliable regions grow by a minimum filter of this many pixels, an odd number; 1: not at all.",
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
            "What the network sees where the flow is unreliable.",
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
            "Long shots are painted in parts of so many frames, by several nodes at the same time; one passes over "
            f"into the next within {CROSSFADE} frames, which are painted twice. Shots of fewer than three parts stay whole. auto: "
            "parts of 48 to 240 frames by the film's length and size; all shots stay whole in a short film, and in a style that "
            "keeps its past.",
            CROSSFADE + 1,
            10**6 - 1,
            metavar="auto|N|off",
            unset="off",
        ),
    ] = None
    style_scale: Annotated[
        float,
        OptionInfo(
            FRAMES, "Size of the strokes: 2 is twice as large, and a quarter of the work.", 0.25, 4, metavar="S"
        ),
    ] = 1.0
    strength: Annotated[
        float, OptionInfo(OUTPUT, "How far from the source: 1 is the style alone, 0 the source.", 0, 1)
    ] = 1.0
    preserve_colors: Annotated[
        bool, OptionInfo(OUTPUT, "Take the style's brightness alone; colors stay those of the source.")
    ] = False
    mask: Annotated[
        File | None,
        OptionInfo(
            OUTPUT,
            "Stylize only where this is white; grey is a mixture. A picture, or a video or numbered images "
            "(dir/mask_%04d.png) of as many frames as the video; brought to the film's size.",
            metavar="VIDEO_OR_IMAGE",
        ),
    ] = None
    codec: Annotated[
        str,
        OptionInfo(
            OUTPUT,
            "Codec of the film. Those with a _ are hardware encoders, where FFmpeg and the machine have them. Numbered images "
            "(--out 'dir/frame_%06d.png') have none.",
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
            "Measure the film while it is made, and how much of this picture is in it: the film's name with "
            ".evaluation.txt, .csv, .json and .png.",
            metavar="STYLE_IMAGE",
            job_only=True,
        ),
    ] = None
    loss_network: Annotated[
        File | None,
        OptionInfo(
            OUTPUT,
            "The network that --evaluate measures style and content loss with, as for `python -m fav train`.",
            metavar="NAME|FILE",
            unset=f"{LOSS_NETWORK}, if it is at hand",
            job_only=True,
        ),
    ] = None
    threads: Annotated[
        int | None,
        OptionInfo(  # FRAMES, since their last bits may depend on it
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
        """How the video is read."""
        from fav.video.settings import SourceSettings

        name = (getattr(self, "provenance", None) or {}).get("video")  # the user's file; the job may have a copy
        return SourceSettings(self.fps, name, self.hdr == "tone-map", self.deinterlace == "auto")


class TypedOptions(JobOptions[Path], frozen=True, kw_only=True):
    """All options of a job. Those added here are recorded as other fields (`records`), or in another place."""

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
    no_cuts: Annotated[
        bool, OptionInfo(FRAMES, "The video is one single shot: look for no cuts.", records=("cuts",))
    ] = False
    read_cuts: Annotated[
        Path | None,
        OptionInfo(
            FRAMES,
            "Take the cuts from a file, the number of a shot's first frame a line, counted from 0.",
            metavar="FILE.csv",
            records=("cuts",),
        ),
    ] = None
    mix: Annotated[
        tuple[tuple[Path, float], ...],
        OptionInfo(
            FRAMES,
            "Mix another style of the same architecture in; several times for several. STYLE keeps what is left of 1.",
            metavar="STYLE:WEIGHT",
            records=("mix_hashes", "mix_weights"),
        ),
    ] = ()
    precision: Annotated[
        str,
        OptionInfo(
            FRAMES,
            "What the network, and SPyNet, may be computed in. A processor that is not made for bfloat16 takes "
            "float32 all the same. auto: bfloat16 if the processor that the job is made on is.",
            choices=("auto", *PRECISIONS),
        ),
    ] = "auto"
    flow_unchecked: Annotated[
        bool, OptionInfo(FRAMES, "Take flow files though they explain the first frames badly.", records=())
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
            "Seconds of silence after which a node on another machine is taken for dead.",
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
    """The record of a job. Paths are relative to the shared directory; sizes in pixels; frames count from 0."""

    video: str
    video_hash: str  # fingerprint of the video's content
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
    evaluate_hash: str | None = None
    loss_network_hash: str | None = None
    mix: tuple[str, ...] = ()  # styles that are mixed in
    mix_hashes: tuple[str, ...] = ()
    mix_weights: tuple[float, ...] = ()
    cuts: tuple[Frame, ...] | None = None  # None: detect them; empty: there are none
    start: Annotated[int, OptionInfo(least=0, most=LAST_FRAME)] = 0
    stop: Annotated[int | None, OptionInfo(least=1, most=LAST_FRAME + 1)] = None
    precision: Annotated[str, OptionInfo(choices=PRECISIONS)] = "float32"
    segment_frames: Annotated[int, OptionInfo(least=3, most=10**6)] = SEGMENT_LENGTH  # of the film, encoded as one task
    provenance: dict[str, str] | None = None  # for people (`fav.pipeline.provenance`); nothing follows from it
    origin: dict[str, str] | None = None  # what the film says of itself (`fav.pipeline.film_comment`)
    notes: tuple[str, ...] = ()  # on what of the video is not in the film as it was

    def to_json(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict) -> "JobSpec":
        """Read a record; FavError where it is not one of a job that this version can serve."""
        if not isinstance(record, dict):
            raise FavError(f"job: expected the options of a film, got {format_value(record)}; {CURE}")
        record = {
            FORMER.get(name, name) if FORMER.get(name) not in record else name: value for name, value in record.items()
        }
        if unknown := {str(name) for name in record} - set(FIELDS):
            raise FavError(
                f"job: expected options that this version knows, got {', '.join(sorted(unknown))[:200]!r}; "
                f"update this machine"
            )
        if missing := [name for name, field in FIELDS.items() if field.default is NODEFAULT and name not in record]:
            raise FavError(
                f"job: expected the options of a film, got none for {', '.join(missing)}; make the job again"
            )
        spec = cls(**{name: FIELDS[name].read(value) for name, value in record.items()})
        for size, what in (((spec.width, spec.height), "film"), (spec.network_size, "picture for the network")):
            check_size(size, what)
        if spec.stop is not None and spec.stop <= spec.start:
            raise FavError(f"job: expected frames from {spec.start} on, got none up to {spec.stop}; {CURE}")
        if not len(spec.mix) == len(spec.mix_hashes) == len(spec.mix_weights):
            raise FavError(
                f"job: expected a weight and a hash for each of {len(spec.mix)} styles that are mixed in, got "
                f"{len(spec.mix_weights)} and {len(spec.mix_hashes)}; {CURE}"
            )
        check_weights(spec.mix_weights)
        for path in (*(getattr(spec, name) for name in ("video", *INPUT_FIELDS, "out")), *spec.mix):
            resolve_inside(Path("/"), path)
        if spec.is_images:
            check_pattern(spec.out, "job: ")
        for name in set(FIELDS) - {"video", *INPUT_FIELDS}:
            if isinstance(value := getattr(spec, name), str):
                check_plain(f"job: {name}", value)
        return spec

    def style_settings(self, root: Path) -> StyleSettings:
        """What decides a pixel, with paths on this machine; FavError where one is not what `resolve_input` promises."""
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
            key=self.video_hash + self.style_hash,
            mix=tuple((resolve_input(root, style), weight) for style, weight in zip(self.mix, self.mix_weights)),
            precision=self.precision,
        )

    def postprocess_settings(self, root: Path) -> PostprocessSettings:
        """How the film is made of the stylized frames; FavError as for `style_settings`."""
        return PostprocessSettings(
            (self.width, self.height),
            self.strength,
            self.preserve_colors,
            resolve_input(root, self.mask),
            self.encoder.bits > 8,
        )

    @property
    def encoder(self) -> "EncoderSettings":
        """How the film is encoded; whether this machine can is not looked at."""
        from fav.video.codecs import film_settings

        return film_settings(
            self.out, self.codec, pixel_format=self.pixel_format, preset=self.preset, crf=self.crf, check=False
        )

    @property
    def is_images(self) -> bool:
        """Whether the film is numbered images, in a directory of their own."""
        return is_image_output(self.out)

    @property
    def network_size(self) -> tuple[int, int]:
        """(width, height) of the stylized frames as they are published."""
        return network_size((self.width, self.height), self.style_scale)

    def film(self, root: Path) -> Path:
        """Where the user finds the film; of numbered images, their directory."""
        out = resolve_inside(root, self.out)
        return out.parent if self.is_images else out


class Option(OptionInfo, frozen=True, kw_only=True):
    """An option of a job, or a field of its record.

    Attributes:
        name: The name in Python, like `occlusion_erode`.
        kind: In words, what its values are; of an option, one of the values of `KINDS`.
        type: Its type, as msgspec reads it.
        default: Its value if nobody gives one; NODEFAULT where it must be given.
    """

    name: str
    kind: str
    type: Any
    default: Any

    @property
    def flag(self) -> str:
        """The option as it is typed, like `--crf`."""
        return _flag(self.name)

    @property
    def former_flag(self) -> str | None:
        """The option as it was typed in the version before, if it had another name then."""
        return _flag(self.former) if self.former else None

    @property
    def help(self) -> str:
        """What the option does, with a summary of its choices."""
        summaries = self.choices() if callable(self.choices) else {}
        return " ".join([self.text, *(f"{name}: {summary}." for name, summary in summaries.items())])

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it may be; empty if it is none of several."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def expected(self) -> str:
        """In words, what it may be."""
        if self.choices and not callable(self.choices):
            return " or ".join(self.choices)
        if self.least is None or self.most is None:
            return self.kind
        kind = self.kind.replace("a ", "an odd ", 1) if self.odd else self.kind
        return f"{kind} from {format_number(self.least)} to {format_number(self.most)}"

    @property
    def output_only(self) -> bool:
        """Whether another film of the same frames may have another value."""
        return self.changes == OUTPUT and not self.job_only

    def accepts(self, value: Any) -> bool:
        """Whether a value of its type is in its range, or among its choices."""
        if value is None:
            return True
        if self.least is not None and self.most is not None and not self.least <= value <= self.most:
            return False
        if self.odd and value % 2 == 0:
            return False
        return not self.choices or value in self.words

    def read(self, value: Any) -> Any:
        """The value of a field of a record; FavError where it has another type or is not accepted."""
        try:
            found = msgspec.convert(value, self.type)
        except (ValueError, OverflowError):  # a ValidationError, or that a text has no UTF-8
            pass
        else:
            if self.accepts(found):
                return found
        expected = f"{self.expected}, or nothing" if self.default is None else self.expected
        raise FavError(f"job: expected {self.name} to be {expected}, got {format_value(value)}; {CURE}")

    def typed(self, value: Any) -> str:
        """The option with a value as it is typed; `no --name` where it is left out."""
        if is_unset(value):
            word = self.unset in (self.metavar or "").split("|")  # like `off`
            return f"{self.flag} {self.unset}" if word else f"no {self.flag}"
        if value is True:
            return self.flag
        if self.name == "chunk" and value == AUTO_CHUNK:
            return f"{self.flag} auto"
        if self.kind == KINDS["styles"]:
            return " ".join(f"{self.flag} {shlex.quote(f'{style}:{format_number(weight)}')}" for style, weight in value)
        if self.kind == KINDS["range"]:
            start, stop = value
            return f"{self.flag} {start}:{'' if stop is None else stop}"
        return f"{self.flag} {shlex.quote(format_number(value))}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


KINDS = {"flag": "true or false", "whole": "a whole number", "number": "a number", "file": "a file", "text": "a text",
         "range": "two frame numbers", "styles": "styles and their weights"}  # fmt: skip
_KINDS = {bool: KINDS["flag"], int: KINDS["whole"], float: KINDS["number"], Path: KINDS["file"], str: KINDS["text"],
          tuple[int, int | None]: KINDS["range"], tuple[tuple[Path, float], ...]: KINDS["styles"],
          dict[str, str]: "texts by their names", tuple[str, ...]: "a list of texts", tuple[float, ...]: "a list of numbers",
          tuple[Frame, ...]: f"a list of frame numbers from 0 to {LAST_FRAME}"}  # fmt: skip


def _described(field: FieldInfo) -> Option:
    """What a line of the schema says."""
    kind, *notes = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
    about = next((note for note in notes if isinstance(note, OptionInfo)), OptionInfo())
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    namesake = f"{field.name}_hash" if kind is Path else field.name
    said = {**asdict(about), "records": (namesake,) if about.records is None else about.records}
    return Option(name=field.name, kind=_KINDS[kind], type=field.type, default=field.default, **said)


def _order(option: Option) -> tuple[bool, bool]:
    """First what every film has, and of that what a user asks for first: its size, its frames, its cuts."""
    return option.job_only, option.name in JobOptions.__struct_fields__


OPTIONS = {each.name: each for each in sorted(map(_described, fields(TypedOptions)), key=_order)}
FIELDS = {field.name: _described(field) for field in fields(JobSpec)}
_RECORDED = JobOptions.__struct_fields__
INPUT_FIELDS = ("style", *(name for name in _RECORDED if f"{name}_hash" in FIELDS))  # input files, besides the video
LINKED_INPUTS = ("flow_from", "flow_forward_from", "reliability_from")  # of INPUT_FIELDS: large, and with gaps at cuts
FORMER = {  # what records of the version before call a field, and its name now
    **{f"{name}_print": f"{name}_hash" for name in ("video", *INPUT_FIELDS)},
    "mix_prints": "mix_hashes",
    **{field.former: name for name, field in FIELDS.items() if field.former},
    **{f"{FIELDS[name].former}_print": f"{name}_hash" for name in INPUT_FIELDS if FIELDS[name].former},
}
VALUE_FIELDS = tuple(name for name in _RECORDED if name not in INPUT_FIELDS)  # recorded just as they are typed


def form() -> list[dict[str, Any]]:
    """The fields of a form that makes a job, as plain values: one for each option, in the order of the help.

    Each has `name`, `type`, `default`, `least`, `most`, `choices`, `help`, `changes` and `unset`: what it means to give
    none.
    """
    return [
        {
            "name": each.name,
            "type": each.kind,
            "default": each.default,
            "least": each.least,
            "most": each.most,
            "choices": list(each.words),
            "help": each.help,
            "changes": each.changes,
            "unset": each.unset,
        }
        for each in OPTIONS.values()
    ]


def is_unset(value: Any) -> bool:
    """Whether a value is that of an option which was left out and has no other default."""
    return value is None or value is False or value in ((), (0, None))


def format_number(value: Any) -> str:
    """A number as it is typed, without the `.0` that Python adds; anything else as it is."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def format_value(value: Any) -> str:
    """A value of a record for a message: short, and never an error itself."""
    try:
        return repr(value)[:200]
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of too many digits"


def check_size(size: tuple[int, int], what: str) -> None:
    """FavError unless pictures of (width, height) can be painted and written."""
    width, height = size
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise FavError(
            f"{what}: expected 1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS} in all, got {width}x{height}; "
            f"choose another --width, --scale or --style-scale"
        )


def check_plain(what: str, text: str) -> None:
    """FavError unless a terminal shows each letter of a text as it is."""
    if text != sanitize(text, len(text)):
        raise FavError(f"{what}: expected letters that can be seen, got {ascii(text)[:200]}")


def check_weights(weights: tuple[float, ...]) -> None:
    """FavError unless each of the styles that are mixed in has a weight, and the first keeps some."""
    if not all(weight > 0 for weight in weights) or not sum(weights) < 1:
        raise FavError(
            f"--mix: expected weights above 0 that leave something of 1 to the first style, got "
            f"{', '.join(f'{weight:g}' for weight in weights)}"
        )
