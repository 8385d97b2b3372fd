"""The form of a new film, derived from the schema of a job's options, and the request of a filled form.

Options are named here only to order them. A new option of the schema appears in the form automatically.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT

from fav.errors import FavError, sanitize
from fav.pipeline.option import AUTO_CHUNK, FRAMES, KINDS, OUTPUT, Option, is_unset
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS, VALUE_FIELDS, JobSpec, form
from fav.util.curve import is_curve, parse
from fav.web import places
from shared.jobs import Job

COMMON = ("width", "frames", "crf")  # the first options of the form, after OWN_CONTROLS
OWN_CONTROLS = ("strength", "preserve_colors", "style_scale", "mix", "mask")  # have special controls beside the picture
GROUPS = {
    "Everyday": COMMON,
    "Which frames": ("range", "scale", "fps", "cut_threshold", "no_cuts", "read_cuts"),
}
LABELS = {"crf": "Quality (CRF)", "fps": "Frames a second"}  # of options whose names are not clear enough
REST = {FRAMES: "How frames are made", OUTPUT: "How the film is written", "": "The job"}
FLAG, WHOLE, NUMBER, FILE, RANGE, STYLES, CURVE = (
    KINDS[kind] for kind in ("flag", "whole", "number", "file", "range", "styles", "curve")
)
LONGEST = 1000  # maximum number of characters of a value


def groups() -> list[tuple[str, list[dict[str, Any]]]]:
    """The fields of the form by heading. The page shows the first group, and hides the others until they are opened."""
    fields = {each["name"]: {**each, **_control(OPTIONS[each["name"]])} for each in form()}
    found = [(title, [fields.pop(name) for name in names if name in fields]) for title, names in GROUPS.items()]
    for changes, title in REST.items():
        names = [
            name for name in fields
            if name not in OWN_CONTROLS and (fields[name]["changes"] == changes or not changes)
        ]  # fmt: skip
        found.append((title, [fields.pop(name) for name in names]))
    return [(title, some) for title, some in found if some]


def _control(option: Option) -> dict[str, Any]:
    """The control of a field, its label and its initial value."""
    kind = (
        "select"
        if option.allowed_values
        else {FLAG: "flag", WHOLE: "number", NUMBER: "number", FILE: "file"}.get(option.kind, "text")
    )
    if option.name == "chunk":
        kind = "text"  # auto, off or a number
    default = "" if option.default is NODEFAULT or is_unset(option.default) else option.default
    return {
        "control": kind,
        "label": LABELS.get(option.name, option.name.replace("_", " ").capitalize()),
        "flag": option.flag,
        "step": 1 if option.kind == WHOLE else "any",
        "shown": default,
        "metavar": option.metavar or "",
    }


def request_from(root: Path, fields: object) -> Request:
    """The request of a filled form: `{"video": KEY, "style": KEY, "options": {NAME: VALUE}}`. Empty options are left out.

    Raises:
        FavError: The page may not name a file, or a value is not valid.
    """
    if not isinstance(fields, Mapping) or not isinstance(fields.get("options", {}), Mapping):
        raise FavError("expected a video, a style and options")
    video = places.file_of(root, fields.get("video"), "video")
    style = places.style_of(root, fields.get("style"))
    values: dict[str, Any] = {}
    for name, value in fields.get("options", {}).items():
        if name not in OPTIONS:
            raise FavError(f"{sanitize(name)}: there is no option of that name")
        if value not in ("", None, [], False):
            values[name] = _value(root, OPTIONS[name], value)
    request = Request(video=str(video), style=style, given=frozenset(values), **values)
    request.check()
    return request


def _value(root: Path, option: Option, value: object) -> Any:
    """Convert a value to the type of its option. Raises FavError if that is not possible."""
    refusal = FavError(f"{option.flag}: expected {option.expected}, got {sanitize(repr(value))}")
    if option.kind == FLAG:
        if value is not True:
            raise refusal
        return True
    if option.kind == STYLES:
        return _mixture(root, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise refusal
    value = value.strip()
    if option.kind == FILE:
        of_style = option.name in ("first_frame_style", "outside")
        return places.style_of(root, value) if of_style else places.file_of(root, value)
    try:
        if option.name == "chunk" and value == "auto":
            return AUTO_CHUNK
        if option.kind == WHOLE:
            return int(value)
        if option.kind == NUMBER or option.kind == CURVE and not is_curve(value):
            return float(value)
        if option.kind == CURVE:
            return _curve(option.flag, value)
        if option.kind == RANGE:
            start, _, stop = value.partition(":")
            return int(start or 0), int(stop) if stop else None
    except ValueError:
        raise refusal from None
    return value


def _curve(flag: str, text: str) -> str:
    try:
        return str(parse(text))
    except FavError as error:
        raise FavError(f"{flag}: {error}") from None


def _mixture(root: Path, value: object) -> tuple[tuple[Path, float | str], ...]:
    """Styles and weights, from `[[KEY, WEIGHT], …]`. A weight may be a curve."""
    try:
        pairs = (
            [
                (key, _curve("--mix", weight) if isinstance(weight, str) and is_curve(weight) else float(weight))
                for key, weight in value
            ]
            if isinstance(value, list)
            else None
        )
    except (TypeError, ValueError):
        pairs = None
    if not pairs or len(pairs) > 8:
        raise FavError(f"--mix: expected styles and their weights, got {sanitize(repr(value))}")
    return tuple((places.style_of(root, key), weight) for key, weight in pairs)


def filled_from(job: Job) -> dict[str, Any]:
    """The filled form that makes the film of a job again, as the argument of `request_from`.

    Input files of the job are named where the job has them, if a page may name them.
    """
    spec, root = JobSpec.from_json(job.manifest.spec), job.share.layout.root
    options: dict[str, Any] = {
        name: value
        for name in VALUE_FIELDS
        if (value := getattr(spec, name)) != OPTIONS[name].default and not is_unset(value)
    }
    if spec.start or spec.stop is not None:
        options["range"] = f"{spec.start}:{'' if spec.stop is None else spec.stop}"
    if spec.cuts == ():
        options["no_cuts"] = True
    options["width"] = spec.width
    if spec.mask and places.is_input(root, spec.mask):
        options["mask"] = spec.mask
    if spec.outside and places.is_input(root, spec.outside):
        options["outside"] = spec.outside
    if spec.mix:
        options["mix"] = [list(pair) for pair in zip(spec.mix, spec.mix_weights)]
    origin = Path((spec.provenance or {}).get("style", ""))
    named = next((name for name, path in places.styles(root).items() if path == origin), None)
    return {"video": spec.video, "style": named or spec.style, "options": options}
