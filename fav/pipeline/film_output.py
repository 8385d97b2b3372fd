"""The film of a request: its size, its name, its encoder, and another film of the same frames."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import overload

from msgspec.structs import replace

from fav.errors import FavError
from fav.pipeline.delivery import evaluation_name, is_free
from fav.pipeline.request import Request
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import REPORTS
from fav.util.image_sequence import is_image_output
from fav.util.safe_path import resolve_inside
from fav.video import VideoInfo, check_film_name
from fav.video.codecs import EncoderSettings, check_no_codec, film_settings, film_suffix, film_suffixes, usual_crf
from shared.shared_dir import SharedDir


def film_size(source: VideoInfo, width: int | None, scale: float | None) -> tuple[int, int]:
    """(width, height) of a film, given --width or --scale; without both, that of the video."""
    scale = scale or (width / source.width if width else 1.0)
    return width or max(round(source.width * scale), 1), max(round(source.height * scale), 1)


@overload
def within(root: Path, out: str) -> str: ...
@overload
def within(root: Path, out: str | None) -> str | None: ...
def within(root: Path, out: str | None) -> str | None:
    """The film's path relative to the shared directory `root`, if `out` is an absolute path inside; otherwise `out`."""
    if out is None or not Path(out).is_absolute():
        return out
    path = Path(out).parent.resolve() / Path(out).name
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else out


def film_name(request: Request) -> str:
    """The film's name; if it will follow from the job's name, any name with the same suffix."""
    return request.out or f"film{film_suffix(request.codec, request.video)}"


def film_encoder(request: Request, out: Path | str | None = None) -> EncoderSettings:
    """The encoder settings of a request's film.

    Args:
        request: the command line.
        out: the film, if it is made without a job.

    Raises:
        FavError: codec, pixel format, preset, quality and the film's name do not fit, or FFmpeg lacks the encoder.
    """
    name = str(out or film_name(request))
    check_film_name(name)
    if is_image_output(name):
        check_no_codec(request.given)
    return film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, crf=request.crf)


def free_film_name(share: SharedDir, request: Request, job: str) -> str:
    """The name of a job's film: that of the job, with a number if such a film exists already."""
    suffix = film_suffix(request.codec, request.video)
    names = (f"{job}{'' if number == 1 else f'-{number}'}{suffix}" for number in itertools.count(1))
    return next(name for name in names if not existing_output(share, request, name))


def existing_output(share: SharedDir, request: Request, out: str) -> Path | None:
    """The existing file with the name of a film or of its evaluation; None if all these names are free."""
    film = resolve_inside(share.layout.root, out)
    if is_image_output(out):
        film = film.parent
    films = [] if is_image_output(out) and is_free(film) else [film]
    reports = [evaluation_name(film, suffix) for suffix in REPORTS] if request.evaluate else []
    return next((path for path in (*films, *reports) if os.path.lexists(path)), None)


def another_film(
    spec: JobSpec,
    root: Path,
    out: str | None,
    codec: str | None = None,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
) -> JobSpec:
    """The spec of another film of the same frames.

    Args:
        spec: of the job.
        root: the shared directory.
        out: path of the new film, relative to `root`; None: a free name.
        codec: None: the job's.
        pixel_format: None: the job's, or the default of another codec.
        preset: None: the job's, or the default of another codec.
        crf: None: the job's, or the default of another codec.

    Raises:
        FavError: the options do not fit, or the film's name is taken.
    """
    given = {name: value for name, value in (("codec", codec), ("preset", preset), ("crf", crf)) if value is not None}
    codec = codec or spec.codec
    if out is None:
        first = Path(spec.out)
        if given.get("codec") and (spec.is_images or first.suffix.lower() not in film_suffixes(codec)):
            first = first.parent if spec.is_images else first
            first = first.with_name(f"{first.stem}{film_suffixes(codec)[0]}")
        names = map(str, _numbered(first, 1 if first != Path(spec.out) else 2))
        out = next(name for name in names if not _is_taken(root, name))
    elif _is_taken(root, out):
        raise FavError(f"{out}: expected a new name for the film, but the file exists")
    check_film_name(out)
    if is_image_output(out):
        check_no_codec(given)
    if codec == spec.codec and is_image_output(out) == spec.is_images:
        pixel_format, preset = pixel_format or spec.pixel_format, preset or spec.preset
        crf = spec.crf if crf is None else crf
    crf = usual_crf(codec) if crf is None else crf
    film_settings(out, codec, pixel_format=pixel_format, preset=preset, crf=crf)
    return replace(spec, out=out, codec=codec, pixel_format=pixel_format, preset=preset, crf=crf)


def _numbered(out: Path, first: int) -> Iterator[Path]:
    """Yield names of films with numbers from `first` on; 1 means no number. For images, their directory is numbered."""
    for number in itertools.count(first):
        ending = f"-{number}" if number > 1 else ""
        if is_image_output(str(out)):
            yield out.parent.with_name(f"{out.parent.name}{ending}") / out.name
        else:
            yield out.with_stem(f"{out.stem}{ending}")


def _is_taken(root: Path, out: str) -> bool:
    """Whether the name of a film exists in the shared directory; for images, whether their directory has files."""
    film = resolve_inside(root, out)
    return not is_free(film.parent) if is_image_output(out) else os.path.lexists(film)


def check_output_directory(share: SharedDir, out: str) -> None:
    """Check the directory of a film.

    Args:
        share: the shared directory.
        out: path of the film, relative to the shared directory.

    Raises:
        FavError: the directory is one in which nodes write and remove files.
        JobQueueError: a parent directory is a link or a file.
    """
    first = PurePosixPath(out).parts[0]
    if first.casefold() in {path.name for path in share.layout.reserved_names()}:
        raise FavError(
            f"--out: expected a name outside of {first}/, where nodes write and remove files; choose another directory"
        )
    for parent in list(PurePosixPath(out).parents)[-2::-1]:
        share.system.require_directory(share.layout.root / parent)
