"""A request of the user: a video, a style and options, as they were typed."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fav.errors import FavError
from fav.pipeline.option import AUTO_CHUNK, LAST_FRAME, Option, check_plain, is_unset
from fav.pipeline.spec import OPTIONS, JobSpec, TypedOptions, check_weights
from fav.stylize.settings import PROJECTIONS

if TYPE_CHECKING:
    from fav.flow.files import FlowFiles

MAX_NAME = 150  # bytes of a film's file name: related files have longer names, and file systems allow 255


class Request(TypedOptions, frozen=True):
    """A video, a style and the options as they were typed.

    Attributes:
        video: path of the video.
        style: path of the style.
        given: names of the options that were typed.
        cuts: first frames of shots that were read from `read_cuts`; None: not read.
        loss_network: a file, or the name of a published network; None: the default.
        chunk: frames of a chunk; AUTO_CHUNK: `--chunk auto`, not decided yet.
        auto_chunk: whether `chunk` was decided by `fav.pipeline.chunking`.
    """

    video: str
    style: Path
    given: frozenset[str] = frozenset()
    cuts: tuple[int, ...] | None = None
    auto_chunk: bool = False

    @property
    def flow_files(self) -> "FlowFiles":
        """The files of flow and reliability."""
        from fav.flow.files import FlowFiles  # OpenCV takes a quarter of a second to import

        return FlowFiles.of(self)

    @property
    def last(self) -> int | None:
        """One past the last frame of the film; None if it ends with the video."""
        start, stop = self.range
        return stop if self.frames is None else min(start + self.frames, stop or LAST_FRAME + 1)

    def check(self) -> None:
        """Check the options without reading files.

        Raises:
            FavError: options exclude or need each other, or a value is out of range.
        """
        if self.init_frame and self.first_frame_style:
            raise FavError(
                "--init-frame and --first-frame-style: expected one of them, got both; each gives the first frame"
            )
        check_cuts(self.no_cuts, self.read_cuts)
        if self.loss_network and not self.evaluate:
            raise FavError("--loss-network: expected with --evaluate, which uses it")
        if self.reliability_from and not self.flow_from:
            raise FavError("--reliability-from: expected with --flow-from, whose flow it describes")
        if self.invert_reliability and not self.reliability_from:
            raise FavError("--invert-reliability: expected with --reliability-from")
        if self.reliability_from and self.reverse:
            raise FavError("--reliability-from: expected without --reverse; it describes flow to the frame before")
        if self.outside and not self.mask:
            raise FavError("--outside: expected with --mask, outside of which the second style is seen")
        if self.outside and self.projection != PROJECTIONS[0]:
            raise FavError(f"--outside: expected without --projection {self.projection}; a 360° video has one style")
        if not (self.mask or self.mask_strength == 1):
            raise FavError("--mask-strength: expected with --mask, which it weakens")
        if self.flow_y_up and not (self.flow_from or self.flow_forward_from):
            raise FavError("--flow-y-up: expected with --flow-from or --flow-forward-from")
        if self.projection != "flat" and (self.flow_from or self.flow_forward_from):
            raise FavError("--flow-from: expected without --projection; flow of the faces of a 360° video is computed")
        if self.width and self.scale:
            raise FavError("--width and --scale: expected one of them, got both")
        if self.out is not None:
            check_out(self.out)
        check_range(*self.range)
        check_weights(tuple(weight for _, weight in self.mix))
        for option in OPTIONS.values():
            if option.name == "chunk" and self.chunk == AUTO_CHUNK:
                continue
            if not option.accepts(value := getattr(self, option.name)):
                raise FavError(f"{option.flag}: expected {option.expected}, got {value}")


def check_cuts(no_cuts: bool, read_cuts: Path | None) -> None:
    """Raise FavError if both options were typed."""
    if no_cuts and read_cuts:
        raise FavError("--no-cuts and --read-cuts: expected one of them, got both")


def check_out(out: str) -> None:
    """Raise FavError unless `out` is a relative path inside the shared directory, and not too long."""
    path = Path(out)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise FavError(f"--out: expected a name inside SHARED, got {out}")
    check_plain("--out", out)
    if (
        len(path.name.encode()) > MAX_NAME
        or len(out.encode()) > 900
        or max(len(part.encode()) for part in path.parts) > 255
    ):
        raise FavError(
            f"--out: expected a name of at most {MAX_NAME} bytes, in directories of at most 255 each and 900 in "
            f"total, got {out[:80]}…"
        )


def check_range(start: int, stop: int | None) -> None:
    """Raise FavError unless `[start, stop)` is a valid range of frames."""
    if start < 0 or stop is not None and stop <= start:
        raise FavError(
            f"--range: expected START:STOP with 0 <= START < STOP, got {start}:{'' if stop is None else stop}"
        )
    if max(start, (stop or 1) - 1) > LAST_FRAME:
        raise FavError(f"--range: expected frames up to {LAST_FRAME}, got {start}:{'' if stop is None else stop}")


def differences(job: JobSpec, wanted: JobSpec, request: Request) -> dict[str, str]:
    """Compare an existing job with a request, in the options that were typed.

    Args:
        job: the spec of the existing job.
        wanted: the spec of the job that the request would create, without the paths of its files.
        request: the command line.

    Returns:
        A text such as `--crf 20, not --crf 30` for each option that differs, by its name. `video` and `style` are also
        names.
    """
    found = {
        name: f"{name} has another content"
        for name in ("video", "style")
        if getattr(job, f"{name}_hash") != getattr(wanted, f"{name}_hash")
    }
    groups: dict[tuple[str, ...], list[Option]] = {}
    given = request.given - ({"precision"} if request.precision == "auto" else set())  # auto accepts any
    for option in OPTIONS.values():
        if option.name in given:
            groups.setdefault(option.records or (), []).append(option)
    for records, options in groups.items():
        if records == ("chunk",) and request.auto_chunk and (job.chunk or wanted.chunk is None):
            continue  # what auto decided when the job was made holds, as of a version that decided otherwise
        if any(getattr(job, name) != getattr(wanted, name) for name in records):
            found[options[0].name] = _difference(job, wanted, request, options)
    return found


def stitch_words(request: Request, names: Iterable[str]) -> str:
    """The options of `stitch` that make a request's film of the frames of a job which differs in these options."""
    words = []
    for option in (OPTIONS[name] for name in OPTIONS if name in names):
        value = getattr(request, option.name)
        if not is_unset(value):
            words.append(option.as_typed(value))
        elif option.name in ("mask", "preserve_colors"):
            words.append(f"--no-{option.flag.removeprefix('--')}")
    return " ".join(words)


def _difference(job: JobSpec, wanted: JobSpec, request: Request, options: list[Option]) -> str:
    """Describe the difference in options that decide the same fields of the spec, in the words that are typed."""
    typed = [option for option in options if not is_unset(getattr(request, option.name))]
    asked = " ".join(option.as_typed(getattr(request, option.name)) for option in typed or options[:1])
    first = (typed or options)[0]
    match first.records:
        case ("start", "stop"):
            has = OPTIONS["range"].as_typed((job.start, job.stop))
            if first.name == "frames" and job.stop is not None and job.start == wanted.start:
                has = first.as_typed(job.stop - job.start)
        case ("width", "height"):
            if first.name == "width" and job.width != wanted.width:
                has = first.as_typed(job.width)
            else:
                has, asked = f"{job.width}x{job.height} pixels", f"{asked} ({wanted.width}x{wanted.height})"
        case ("cuts",):
            given = f"--read-cuts ({_list_some(job.cuts)})" if job.cuts else "--no-cuts"
            has = "detected cuts" if job.cuts is None else given
            asked += f" ({_list_some(wanted.cuts)})" if wanted.cuts else ""
        case ("mix_hashes", "mix_weights"):
            if job.mix_weights == wanted.mix_weights:
                return f"{first.flag} has another content"
            has = first.as_typed(tuple((Path("STYLE"), weight) for weight in job.mix_weights))
        case (recorded,) if recorded != first.name:
            before, after = getattr(job, recorded), getattr(wanted, recorded)
            if before is not None and after is not None:
                return f"{first.flag} has another content"
            has = first.as_typed(before and Path("FILE"))
        case _:
            has = first.as_typed(getattr(job, first.name))
    return f"{has}, not {asked}"


def _list_some(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
