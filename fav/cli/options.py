"""The click options of a job, defined once for `node.py`, `coordinator.py` and `python -m fav`."""

import os
import re
from pathlib import Path

import click
from click.core import ParameterSource

from fav.errors import FavError
from fav.model.backends import BACKENDS
from fav.model.bundled_styles import style_file
from fav.pipeline.option import AUTO_CHUNK, KINDS, Option, is_unset
from fav.pipeline.request import Request
from fav.pipeline.spec import MAX_SIDE, OPTIONS
from fav.util.curve import is_curve, parse
from shared.option_types import ChoiceType, NumberType, WholeType, shown

DIGITS = 12  # maximum length of whole numbers


class FileType(click.Path):
    """The name of a file or directory. Refuses an empty one, which would mean the current directory."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value, param, ctx):
        _refuse_empty(self, value, param, ctx)
        return super().convert(value, param, ctx)


class SourceType(click.ParamType):
    """The name of a video, of numbered images or of a stream."""

    name = "text"

    def convert(self, value, param, ctx):
        _refuse_empty(self, value, param, ctx)
        return value


def _refuse_empty(kind: click.ParamType, value, param, ctx) -> None:
    if not os.fspath(value):
        kind.fail("expected a name, got an empty one; is a variable of the shell empty?", param, ctx)


FILE, SOURCE = FileType(), SourceType()


def limits(option: str) -> click.ParamType:
    """The click type with the range of a numeric option of a job."""
    found = OPTIONS[option]
    return (WholeType if found.kind == KINDS["whole"] else NumberType)(found.least, found.most)


def _is_whole(text: str) -> bool:
    """Whether this is a whole number of at most DIGITS digits. Python refuses to parse one of thousands of digits."""
    return text.isascii() and text.isdigit() and len(text) <= DIGITS


class LabelType(click.ParamType):
    """What a machine is called."""

    name = "name"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,80}", value):
            self.fail(f"expected 1 to 80 letters, digits, dots, hyphens or underscores, got {shown(value)}", param, ctx)
        return value


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
            self.fail(
                f"expected START:STOP, frame numbers from 0, like 100:250 or 100:, got {shown(value)}", param, ctx
            )


class FrameRangeType(click.ParamType):
    name = "frames"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        if not all(map(_is_whole, value.split(","))):
            self.fail(f"expected frame numbers from 0, like 48,96,144, got {shown(value)}", param, ctx)
        return tuple(map(int, value.split(",")))


class ChunkType(click.ParamType):
    name = "frames"

    def convert(self, value, param, ctx):
        if isinstance(value, int):
            return value
        if value in ("auto", "off"):
            return AUTO_CHUNK if value == "auto" else None
        chunk = OPTIONS["chunk"]
        if not (_is_whole(value) and chunk.accepts(int(value))):
            self.fail(
                f"expected auto, off, or a number of frames from {chunk.least} on, at most {chunk.most}, got {shown(value)}",
                param,
                ctx,
            )
        return int(value)


class SizeType(click.ParamType):
    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        sides, most = value.split("x"), MAX_SIDE
        if len(sides) != 2 or not all(_is_whole(side) and int(side) <= most for side in sides):
            self.fail(
                f"expected WIDTHxHEIGHT in pixels, like 640x360, at most {most} each, got {shown(value)}", param, ctx
            )
        return int(sides[0]), int(sides[1])


class StyleWeightType(click.ParamType):
    name = "style:weight"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        style, _, weight = value.rpartition(":")  # the last colon, because file names may contain colons
        try:
            return style_file(Path(style)), float(weight) if style else float("")
        except ValueError:
            self.fail(f"expected STYLE:WEIGHT, like wave.safetensors:0.3, got {shown(value)}", param, ctx)


class CurveType(click.ParamType):
    """A number within a range, or a curve: numbers over time."""

    name = "curve"

    def __init__(self, least: float, most: float):
        self.least, self.most = least, most

    def convert(self, value, param, ctx):
        if not (isinstance(value, str) and is_curve(value)):
            return NumberType(self.least, self.most).convert(value, param, ctx)
        try:
            return str(parse(value, self.least, self.most))
        except FavError as error:
            self.fail(str(error), param, ctx)


class StyleCurveType(StyleWeightType):
    """STYLE:WEIGHT, or STYLE@CURVE."""

    def convert(self, value, param, ctx):
        style, at, curve = ("", "", "") if isinstance(value, tuple) else value.rpartition("@")
        # Names of files may contain @: only what has two times after it is a curve.
        if not (at and is_curve(curve) and re.match(r"[0-9.][^,]*:[^,]*,", curve)):
            return super().convert(value, param, ctx)
        try:
            if not style:
                raise FavError(f"expected STYLE@CURVE, like wave@0:1,10:0, got {shown(value)}")
            return style_file(Path(style)), str(parse(curve))
        except FavError as error:
            self.fail(str(error), param, ctx)


class StyleType(click.ParamType):
    """A style's file, or the name of one."""

    name = "style"

    def convert(self, value, param, ctx):
        return style_file(Path(value))


class RenamedOption(click.Option):
    """An option whose former names still work, but are not shown in help."""

    def __init__(self, *args, former: tuple[str, ...] = (), **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.former = former

    def add_to_parser(self, parser, ctx) -> None:
        shown = self.opts
        self.opts = [*shown, *self.former]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown


OWN_TYPES = {
    "range": RangeType(),
    "chunk": ChunkType(),
    "mix": StyleCurveType(),
    "outside": StyleType(),
}  # options with their own syntax


def job_option(name: str, unset: str | None = None):
    """Make the click option of an option of a job.

    Args:
        name: One of `OPTIONS`.
        unset: Text for the default, if it differs from the default of a job.

    Returns:
        A decorator for a click command.
    """
    option = OPTIONS[name]
    default, unset = (None, unset) if unset else (option.default, option.unset)
    help = f"{option.help}  [default: {unset}]" if unset else option.help
    former = (option.former_flag,) if option.former_flag else ()
    if option.kind == KINDS["flag"]:
        return click.option(option.flag, name, cls=RenamedOption, former=former, is_flag=True, help=help)
    several = option.kind == KINDS["styles"]
    return click.option(
        option.flag,
        name,
        cls=RenamedOption,
        former=former,
        type=_type(option),
        default=default,
        show_default=not is_unset(default),
        multiple=several,
        metavar=option.metavar,
        help=help,
    )


def _type(option: Option) -> click.ParamType:
    if option.name in OWN_TYPES:
        return OWN_TYPES[option.name]
    if option.allowed_values:
        return ChoiceType(option.allowed_values)
    if option.kind == KINDS["curve"] and option.least is not None and option.most is not None:
        return CurveType(option.least, option.most)
    if option.least is not None:
        return limits(option.name)
    return FILE if option.kind == KINDS["file"] else click.STRING


FLOW = [job_option("flow"), job_option("flow_weights"), job_option("flow_downscale")]
FLOW_FILES = [
    job_option(name)
    for name in ("flow_from", "flow_forward_from", "reliability_from", "invert_reliability", "flow_first", "flow_y_up")
]
CUTS = [job_option("no_cuts"), job_option("read_cuts"), job_option("cut_threshold")]
RANGE = [job_option("range")]
FPS = [job_option("fps")]
STYLIZE_OPTIONS = [job_option(name) for name, option in OPTIONS.items() if not option.job_only]
JOB = [job_option(name) for name in OPTIONS]

BACKEND_HELP = (
    "What runs the network. auto: openvino if it is installed and the device is cpu, else torch. "
    + " ".join(f"{name}: {method.summary}." for name, method in BACKENDS.items())
)

DEVICE_HELP = "What the networks run on: cpu, or cuda:0 and so on. auto: a GPU that no other node here uses, or cpu."

BACKEND = [
    click.option("--device", default="auto", show_default=True, help=DEVICE_HELP),
    click.option(
        "--backend", type=ChoiceType(["auto", *BACKENDS]), default="auto", show_default=True, help=BACKEND_HELP
    ),
]


def options(group: list):
    """Decorator: add a group of options to a click command, in their order."""

    def decorate(command):
        for option in reversed(group):
            command = option(command)
        return command

    return decorate


def request_of(context: click.Context, video: str, style: Path, values: dict) -> Request:
    """The request of a command line, with the names of the options that were typed."""
    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = frozenset(name for name in values if context.get_parameter_source(name) in typed)
    return Request(video=video, style=style_file(style), given=given, **values)
