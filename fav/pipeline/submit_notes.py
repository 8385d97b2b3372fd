"""Notes for the user at submission: what the film of a request will not have, or not show."""

from pathlib import Path

from fav.errors import sanitize
from fav.pipeline.film_output import film_encoder, film_name
from fav.pipeline.option import format_number
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.stylize.images import READ_SUFFIXES
from fav.util.image_sequence import is_sequence
from fav.video import VideoInfo, check_film, hdr
from fav.video.codecs import DEFAULT

MAX_NOTES, MAX_NOTE_LENGTH = 20, 500
SMALL = 0.6  # of the video's width: strokes in a smaller film look clearly larger


def film_notes(request: Request, options: dict) -> tuple[str, ...]:
    """Notes on what the film will not have as the video has it.

    Args:
        request: the command line.
        options: of `spec_fields`.

    Raises:
        FavError: the film could not be written.
    """
    film = film_name(request)
    notes = check_film(
        request.video,
        film,
        start=options["start"],
        stop=options["stop"],
        settings=request.source,
        encoder=film_encoder(request),
        size=(options["width"], options["height"]),
    )
    return tuple(sanitize(note, MAX_NOTE_LENGTH) for note in notes[:MAX_NOTES])


def picture_notes(request: Request) -> tuple[str, ...]:
    """A note if the video is one image, which the user may want as an image, or if --fps has no effect on a video."""
    if is_sequence(str(request.video)):
        return ()
    if "fps" in request.given:
        return ("--fps is for numbered images; a video keeps its own times",)
    if Path(request.video).suffix.lower() not in READ_SUFFIXES:
        return ()
    return (
        f"{sanitize(request.video)} is one picture, and its film has one frame; fav stylize PICTURE STYLE OUT.png makes a picture",
    )


def hdr_notes(request: Request, source: VideoInfo) -> tuple[str, ...]:
    """A note where the values of HDR go into a film of 8 bits."""
    kept = source.colors.transfer in (hdr.PQ, hdr.HLG)
    return ("HDR in 8 bits shows bands; --codec hevc --pixel-format yuv420p10 has 10 bits",) * (
        kept and film_encoder(request).bits == 8
    )


def stroke_notes(request: Request, source: VideoInfo, width: int) -> tuple[str, ...]:
    """A note if a film is much smaller than its video: strokes do not shrink with it, so it looks different at full size."""
    ratio = width / source.width
    if ratio > SMALL or "style_scale" in request.given:
        return ()
    scale = max(round(ratio, 2), OPTIONS["style_scale"].least or 0)
    return (
        f"the film is {1 / ratio:.3g} times smaller than the video, but strokes have a fixed size in pixels; --style-scale "
        f"{format_number(scale)} makes them smaller, and a test at full size (--frames) shows them as they will be",
    )


def crf_notes(crf: int | None, codec: str = DEFAULT) -> tuple[str, ...]:
    """A note if a film of this quality does not play in most players."""
    return ("--crf 0 is lossless H.264 (High 4:4:4 Predictive), which browsers and most hardware do not play",) * (
        crf == 0 and codec == DEFAULT
    )
