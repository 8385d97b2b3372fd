"""The command line's options that make a job, spelled once for `node.py`, `coordinator.py` and `python -m fav`."""

import math
from pathlib import Path

import click
from click.core import ParameterSource

from fav import flow as flows
from fav.model.backends import BACKENDS
from fav.model.bundled_styles import style_file
from fav.pipeline.request import LIMITS, Request
from fav.pipeline.spec import RANGES
from fav.stylize.settings import LEAD, PRECISIONS
from shared.settings import LEASE_S

FILE = click.Path(path_type=Path)
CHUNK = 48  # frames: 7 more for each are a seventh of the work
DIGITS = 12  # of the numbers that are no more than counted in
WHOLE = {"crf", "min_filter", "threads", "width", "test"}  # options that are whole numbers


class NumberType(click.FloatRange):
    """A number within a range; `nan` and `inf`, which click takes for such, are none."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a number, got {value!r}", param, ctx)
        return number


def limits(option: str) -> click.ParamType:
    """The numbers that an option of a job may have."""
    return (click.IntRange if option in WHOLE else NumberType)(*LIMITS[option])


def _is_whole(text: str) -> bool:
    """Whether it is a number of few digits: Python refuses to read one of thousands, and nothing here has so many."""
    return text.isascii() and text.isdigit() and len(text) <= DIGITS


class RangeType(click.ParamType):
    name = "start:stop"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        start, colon, stop = value.partition(":")
        try:
            if not colon:
                raise ValueError
            return int(start or 0), int(stop) if stop else None
        except ValueError:
            self.fail(f"expected START:STOP, frame numbers from 0, like 100:250 or 100:, got {value!r}", param, ctx)


class FrameRangeType(click.ParamType):
    name = "frames"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        if not all(map(_is_whole, value.split(","))):
            self.fail(f"expected frame numbers from 0, like 48,96,144, got {value!r}", param, ctx)
        return tuple(map(int, value.split(",")))


class ChunkType(click.ParamType):
    name = "frames"

    def convert(self, value, param, ctx):
        if isinstance(value, int) or value in ("auto", "off"):
            return {"auto": CHUNK, "off": None}.get(value, value)
        least, most = LIMITS["chunk"]
        if not (_is_whole(value) and least <= int(value) <= most):
            self.fail(f"expected auto, off, or a number of frames from {least} on, at most {most}, got {value!r}", param, ctx)
        return int(value)


class SizeType(click.ParamType):
    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        sides, most = value.split("x"), RANGES["width"][1]
        if len(sides) != 2 or not all(_is_whole(side) and int(side) <= most for side in sides):
            self.fail(f"expected WIDTHxHEIGHT in pixels, like 640x360, at most {most} each, got {value!r}", param, ctx)
        return int(sides[0]), int(sides[1])


class StyleWeightType(click.ParamType):
    name = "style:weight"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        style, _, weight = value.rpartition(":")  # the last colon: file names may have some, too
        try:
            return style_file(Path(style)), float(weight) if style else float("")
        except ValueError:
            self.fail(f"expected STYLE:WEIGHT, like wave.safetensors:0.3, got {value!r}", param, ctx)


FLOW_HELP = "Optical flow method. " + " ".join(f"{name}: {method.summary}." for name, method in flows.METHODS.items())

FLOW = [
    click.option("--flow", type=click.Choice(list(flows.METHODS)), default="dis", show_default=True, help=FLOW_HELP),
    click.option("--flow-weights", type=FILE, help="Weights for --flow spynet: the authors' directory of modelL{1..6}_F.t7, a .pth or a .safetensors file."),
]

CUTS = [
    click.option("--no-cuts", is_flag=True, help="The video is one single shot: look for no cuts."),
    click.option("--read-cuts", type=FILE, metavar="FILE.csv", help="Take the cuts from a file, the number of a shot's first frame a line, counted from 0."),
]

RANGE = [
    click.option("--range", "range", type=RangeType(), default=(0, None), metavar="START:STOP", help="Only these frames, counted from 0, without STOP."),
]

FPS = [
    click.option("--fps", type=limits("fps"), help="Frame rate of a numbered image sequence (dir/frame_%04d.png).  [default: 25]"),
]

BACKEND_HELP = ("What runs the network. auto: openvino if it is installed and the device is cpu, else torch. "
                + " ".join(f"{name}: {method.summary}." for name, method in BACKENDS.items()))

DEVICE_HELP = "What the networks run on: cpu, or cuda:0 and so on. auto: a card that no other node here has; cpu where there is none."

BACKEND = [
    click.option("--device", default="auto", show_default=True, help=DEVICE_HELP),
    click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True, help=BACKEND_HELP),
]

PRECISION_HELP = ("What the network, and SPyNet, may be computed in. A processor that is not made for bfloat16 takes float32 all the same. "
                  "auto: bfloat16 if the processor that the job is made on is.")

CHUNK_HELP = ("Long shots are painted in parts of so many frames, by several nodes at the same time; one passes over into the next "
              f"within {LEAD} frames, which are painted twice. auto: {CHUNK}. Shots of fewer than three parts stay whole.")

MASK_HELP = ("Stylize only where this is white; grey is a mixture. A picture, or a video or numbered images (dir/mask_%04d.png) "
             "of as many frames as the video; brought to the film's size.")

LOOK = [
    *FLOW,
    *CUTS,
    click.option("--seed", type=FILE, metavar="IMAGE", help="An image that is taken as the finished first frame (with --backward: the last), brought to the film's size."),
    click.option("--first-frame-style", type=FILE, metavar="MODEL", help="A 3-channel image model that paints the first frame of each shot."),
    click.option("--mix", type=StyleWeightType(), multiple=True, metavar="STYLE:WEIGHT", help="Mix another style of the same architecture in; several times for several. STYLE keeps what is left of 1."),
    click.option("--width", type=limits("width"), help="Width of the film in pixels; the height follows."),
    click.option("--scale", type=limits("scale"), help="Size of the film relative to the video."),
    *RANGE,
    click.option("--test", type=limits("test"), metavar="N", help="Only the first N frames (of the range)."),
    *FPS,
    click.option("--min-filter", type=limits("min_filter"), default=7, show_default=True, help="Unreliable regions grow by a minimum filter of this many pixels; 1: not at all."),
    click.option("--fill", type=click.Choice(["vgg-mean", "uniform-random"]), default="vgg-mean", show_default=True, help="What the network sees where the flow is unreliable."),
    click.option("--backward", is_flag=True, help="Stylize each shot from its last frame to its first."),
    click.option("--independent", is_flag=True, help="Stylize frame by frame without memory, for comparison: it flickers."),
    click.option("--chunk", type=ChunkType(), default="off", show_default=True, metavar="auto|N|off", help=CHUNK_HELP),
    click.option("--style-scale", type=limits("style_scale"), default=1.0, show_default=True, metavar="S", help="Size of the strokes: 2 is twice as large, and a quarter of the work."),
    click.option("--strength", type=limits("strength"), default=1.0, show_default=True, help="How far from the source: 1 is the style alone, 0 the source."),
    click.option("--preserve-colors", is_flag=True, help="Take the style's brightness alone; colours stay those of the source."),
    click.option("--mask", type=FILE, metavar="VIDEO_OR_IMAGE", help=MASK_HELP),
    click.option("--precision", type=click.Choice(["auto", *PRECISIONS]), default="auto", show_default=True,
                 help=PRECISION_HELP),
    click.option("--crf", type=limits("crf"), default=18, show_default=True, help="Quality of the H.264 film: lower is better and larger."),
]

JOB = LOOK + [
    click.option("--name", help="The job's name.  [default: VIDEO--STYLE]"),
    click.option("--out", metavar="FILE", help="The film's name, relative to SHARED: .mp4, .mkv or .mov.  [default: the job's name]"),
    click.option("--evaluate", type=FILE, metavar="STYLE_IMAGE", help="Measure the film while it is made, and how much of this picture is in it: the film's name with .evaluation.txt, .csv, .json and .png."),
    click.option("--loss-network", type=FILE, metavar="NAME|FILE", help="The network that --evaluate measures style and content loss with, as for `python -m fav train`.  [default: squeezenet1_1, if it is at hand]"),
    click.option("--keep", is_flag=True, help="Leave published flow in place when the film is done. (Stylized frames stay until `coordinator.py clean`.)"),
    click.option("--lease", type=limits("lease"), default=LEASE_S, show_default=True, help="Seconds of silence after which a node on another machine is taken for dead."),
    click.option("--threads", type=limits("threads"), help="CPU threads of every node.  [default: all cores of its machine]"),
    click.option("--strict", is_flag=True, help="Only machines that compute the very same bits may join."),
    click.option("--no-room-check", is_flag=True, help="Create the job even if the shared directory seems too small for it."),
]


def options(group: list):
    """Decorate a click command with a group of options, in their order."""
    def decorate(command):
        for option in reversed(group):
            command = option(command)
        return command
    return decorate


def request_of(context: click.Context, video: str, style: Path, values: dict) -> Request:
    """What the user asked for, and which options were typed at all."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = frozenset(name for name in values if context.get_parameter_source(name) in typed)
    return Request(video=video, style=style_file(style), given=given, **values)
