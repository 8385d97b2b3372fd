"""The record of one film job: every option that decides the result, so that all nodes agree.

Nothing heavy is imported here: the supervisor of a node reads it, too.
"""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import get_type_hints

from .errors import FavError

LAST_FRAME = 10**12 - 1  # as many digits as the name of a task has
RANGES = {"width": (1, 1 << 16), "height": (1, 1 << 16), "start": (0, LAST_FRAME), "stop": (1, LAST_FRAME + 1), "crf": (0, 51),
          "min_filter": (1, 1 << 16), "threads": (1, 1024), "fps": (1e-6, 1e6)}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Everything that decides a stylized pixel. `size` is (width, height); `key` seeds random fills."""

    style: Path
    size: tuple[int, int]
    flow: str = "dis"
    flow_weights: Path | None = None
    first_frame_style: Path | None = None
    seed: Path | None = None
    min_filter: int = 7
    fill: str = "vgg-mean"
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The options that a job records just as they were typed. `fps` is the rate of an image sequence."""

    fps: float | None = None
    flow: str = "dis"
    min_filter: int = 7
    fill: str = "vgg-mean"
    backward: bool = False
    independent: bool = False
    crf: int = 18
    keep: bool = False
    threads: int | None = None
    strict: bool = False


@dataclass(frozen=True)
class FilmSpec(Choices):
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
    cuts: tuple[int, ...] | None = None  # None: detect them; empty: there are none
    start: int = 0
    stop: int | None = None

    def to_json(self) -> dict:
        return {**asdict(self), "cuts": None if self.cuts is None else list(self.cuts)}

    @classmethod
    def from_json(cls, record: dict) -> "FilmSpec":
        """FavError where the record is not one of a film job that this version can serve."""
        names = {field.name for field in fields(cls)}
        if unknown := set(record) - names:
            raise FavError(f"job: it has options that this version does not know ({', '.join(sorted(unknown))[:200]!r}); update this machine")
        try:
            spec = cls(**{**record, "cuts": None if record.get("cuts") is None else tuple(map(int, record["cuts"]))})
        except (TypeError, ValueError, OverflowError) as error:
            raise FavError(f"job: expected the options of a film, got a record that is not ({str(error)[:200]!r})") from None
        for name, kind in get_type_hints(cls).items():
            if name != "cuts" and not isinstance(getattr(spec, name), kind | int if kind == float | None else kind):
                raise FavError(f"job: expected {name} to be {kind}, got {repr(getattr(spec, name))[:200]}")
        for name, (least, most) in RANGES.items():
            if (value := getattr(spec, name)) is not None and not least <= value <= most:
                raise FavError(f"job: expected {name} from {least} to {most}, got {repr(value)[:200]}")
        if spec.stop is not None and spec.stop <= spec.start:
            raise FavError(f"job: expected frames from {spec.start} on, got none up to {spec.stop}")
        for name in ("video", "style", "flow_weights", "first_frame_style", "seed", "out"):
            inside(Path("/"), getattr(spec, name))
        return spec

    def look(self, root: Path) -> Look:
        """What decides a pixel, with paths on this machine; FavError where one of them is not what `brought` promises."""
        return Look(style=brought(root, self.style), size=(self.width, self.height), flow=self.flow,
                    flow_weights=brought(root, self.flow_weights), first_frame_style=brought(root, self.first_frame_style),
                    seed=brought(root, self.seed), min_filter=self.min_filter, fill=self.fill,
                    key=self.video_print + self.style_print)

    def film(self, root: Path) -> Path:
        """Where the user finds the film."""
        return inside(root, self.out)

    def differences(self, given: dict) -> list[str]:
        """Options in `given` that are not those of this job, each in words."""
        mine = self.to_json()
        return [f"{name.removesuffix('_print').replace('_', '-')} has another content" if name.endswith("_print") else
                f"{name.replace('_', '-')} is {_words(mine[name])}, not {_words(value)}"
                for name, value in sorted(given.items()) if mine[name] != value]


def _words(value) -> str:
    return "unset" if value is None else ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def inside(root: Path, relative: str | None) -> Path | None:
    """A path of the record on this machine; FavError where it leads out of the shared directory."""
    if relative is None:
        return None
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or not _is_name(relative):
        raise FavError(f"job: expected a path inside the shared directory, got {relative[:200]!r}")
    return root / path


def brought(root: Path, relative: str | None) -> Path | None:
    """The path of an input on this machine; FavError where it leads out of the shared directory, be it by a link, or
    to what is neither a file nor a directory: opening that might wait for ever."""
    path = inside(root, relative)
    if path is None:
        return None
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise FavError(f"{path}: expected an input inside the shared directory, got a link to {real}")
    if real.exists() and not (real.is_file() or real.is_dir()):
        raise FavError(f"{path}: expected a file, got something else; remove it")
    return path


def _is_name(path: str) -> bool:
    """Whether the system takes it for a path at all."""
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return b"\0" not in data and len(data) < 1000 and max(map(len, data.split(b"/"))) < 256
