"""One option of a job: its type, range and help, what it changes, and its form in messages and command lines."""

import shlex
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, asdict

from fav.errors import FavError, sanitize
from fav.util import curve

LAST_FRAME = 10**12 - 1  # the largest number that fits into the name of a task
AUTO_CHUNK = 0  # in a request: `--chunk auto`, which `fav.pipeline.chunking` has not decided yet
FRAMES, OUTPUT, SCHEDULING = "the frames", "only the output", "only the scheduling"  # what an option changes
CURE = "update this machine, or make the job again"
CURVE = "NUMBER|CURVE"  # the placeholder of a number that may change over time
Frame = Annotated[int, Meta(ge=0, le=LAST_FRAME)]  # a frame number


class OptionInfo(Struct, frozen=True):
    """The properties of an option, or of a field of `JobSpec`, besides its type and default.

    Attributes:
        changes: FRAMES, OUTPUT or SCHEDULING; empty for a field that is no option.
        text: its help, without a list of its choices.
        least: the smallest number.
        most: the largest number.
        choices: the allowed values; or, if they are slow to find, a function that returns them with a summary each.
        odd: whether even numbers are refused.
        metavar: placeholder for the value in the help.
        unset: the meaning of None, as text.
        records: fields of `JobSpec` that follow from it; None: the field with the same name.
        job_only: whether it only applies to a job in a shared directory.
        former: its name in the previous version, which command lines and manifests may still have.
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


class Option(OptionInfo, frozen=True, kw_only=True):
    """An option of a job, or a field of `JobSpec`.

    Attributes:
        name: in Python, such as `occlusion_erode`.
        kind: its type as text for people; for an option, one of the values of `KINDS`.
        type: its type for msgspec.
        default: NODEFAULT if a value is required.
    """

    name: str
    kind: str
    type: Any
    default: Any

    @property
    def flag(self) -> str:
        """The option as it is typed, such as `--crf`."""
        return _flag(self.name)

    @property
    def former_flag(self) -> str | None:
        """The option as it was typed in the previous version; None if the name is the same."""
        return _flag(self.former) if self.former else None

    @property
    def help(self) -> str:
        """The help text, with a summary of each choice."""
        summaries = self.choices() if callable(self.choices) else {}
        return " ".join([self.text, *(f"{name}: {summary}." for name, summary in summaries.items())])

    @property
    def allowed_values(self) -> tuple[str, ...]:
        """The allowed values; empty if any value of its type is allowed."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    @property
    def expected(self) -> str:
        """The allowed values as text, for messages."""
        if self.choices and not callable(self.choices):
            return " or ".join(self.choices)
        if self.least is None or self.most is None:
            return self.kind
        if self.kind == KINDS["curve"]:
            return (
                f"a number from {format_number(self.least)} to {format_number(self.most)}, or a curve such as 0:0,5:1"
            )
        kind = self.kind.replace("a ", "an odd ", 1) if self.odd else self.kind
        return f"{kind} from {format_number(self.least)} to {format_number(self.most)}"

    @property
    def output_only(self) -> bool:
        """Whether several films of the same frames may have different values."""
        return self.changes == OUTPUT and not self.job_only

    def accepts(self, value: Any) -> bool:
        """Whether a value of its type is allowed."""
        if value is None:
            return True
        if self.kind == KINDS["curve"] and isinstance(value, str):
            return is_valid_curve(value, self.least or 0, 1 if self.most is None else self.most)
        if self.least is not None and self.most is not None and not self.least <= value <= self.most:
            return False
        if self.odd and value % 2 == 0:
            return False
        return not self.choices or value in self.allowed_values

    def read(self, value: Any) -> Any:
        """Convert a value of a manifest. Raises FavError if it has another type or is not allowed."""
        try:
            found = msgspec.convert(value, self.type)
        except (ValueError, OverflowError):  # a ValidationError, or a string that UTF-8 cannot encode
            pass
        else:
            if self.accepts(found):
                return found
        expected = f"{self.expected}, or nothing" if self.default is None else self.expected
        raise FavError(f"job: expected {self.name} to be {expected}, got {format_value(value)}; {CURE}")

    def as_typed(self, value: Any) -> str:
        """The option with a value, as it is typed; `no --name` if it was left out."""
        if is_unset(value):
            has_word = self.unset in (self.metavar or "").split("|")  # such as `off`
            return f"{self.flag} {self.unset}" if has_word else f"no {self.flag}"
        if value is True:
            return self.flag
        if self.name == "chunk" and value == AUTO_CHUNK:
            return f"{self.flag} auto"
        if self.kind == KINDS["styles"]:
            return " ".join(f"{self.flag} {shlex.quote(typed_style(style, weight))}" for style, weight in value)
        if self.kind == KINDS["range"]:
            start, stop = value
            return f"{self.flag} {start}:{'' if stop is None else stop}"
        return f"{self.flag} {shlex.quote(format_number(value))}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


KINDS = {"flag": "true or false", "whole": "a whole number", "number": "a number", "file": "a file", "text": "a text",
         "range": "two frame numbers", "styles": "styles and their weights", "curve": "a number, or a curve"}  # fmt: skip
_KINDS = {bool: KINDS["flag"], int: KINDS["whole"], float: KINDS["number"], Path: KINDS["file"], str: KINDS["text"],
          tuple[int, int | None]: KINDS["range"], tuple[tuple[Path, float | str], ...]: KINDS["styles"],
          float | str: KINDS["curve"], dict[str, str]: "texts by their names", tuple[str, ...]: "a list of texts",
          tuple[float | str, ...]: "a list of numbers and curves",
          tuple[Frame, ...]: f"a list of frame numbers from 0 to {LAST_FRAME}"}  # fmt: skip


def option_of(field: FieldInfo) -> Option:
    """The option of a field of the schema."""
    base, *annotations = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
    info = next((each for each in annotations if isinstance(each, OptionInfo)), OptionInfo())
    if get_origin(base) in (Union, UnionType):
        base = Union[tuple(part for part in get_args(base) if part is not NoneType)]  # noqa: UP007  # of any number of types
    default_record = f"{field.name}_hash" if base is Path else field.name
    properties = {**asdict(info), "records": (default_record,) if info.records is None else info.records}
    return Option(name=field.name, kind=_KINDS[base], type=field.type, default=field.default, **properties)


def is_unset(value: Any) -> bool:
    """Whether a value means that an option was left out."""
    return value is None or value is False or value in ((), (0, None))


def format_number(value: Any) -> str:
    """A number as it is typed, without `.0`; any other value as text."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def format_value(value: Any) -> str:
    """A value of a manifest, shortened for a message. This raises no error."""
    try:
        return repr(value)[:200]
    except ValueError:  # Python does not format numbers of more than 4300 digits
        return "a number of too many digits"


def check_plain(label: str, text: str) -> None:
    """Raise FavError if a text has characters that a terminal does not show. `label` begins the message."""
    if text != sanitize(text, len(text)):
        raise FavError(f"{label}: expected visible characters, got {ascii(text)[:200]}")


def is_valid_curve(text: str, least: float, most: float) -> bool:
    """Whether a text is a curve, in the form in which it is recorded, with values from `least` to `most`."""
    try:
        return str(curve.parse(text, least, most)) == text
    except FavError:
        return False


def typed_style(style: Path | str, weight: float | str) -> str:
    """A further style with its weight, as it is typed after --mix."""
    return f"{style}@{weight}" if isinstance(weight, str) else f"{style}:{format_number(weight)}"
