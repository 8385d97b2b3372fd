"""The fields of a job's spec that follow from its request; or, without a job, the settings of a film."""

from dataclasses import fields
from pathlib import Path

from fav.model.devices import best_precision, device_of
from fav.pipeline.film_comment import film_comment, origin_of
from fav.pipeline.film_output import film_encoder, film_name, film_size
from fav.pipeline.option import AUTO_CHUNK
from fav.pipeline.request import Request
from fav.pipeline.spec import INPUT_FIELDS, LINKED_INPUTS, VALUE_FIELDS, JobSpec, check_size
from fav.stylize.settings import SEGMENT_LENGTH, PostprocessSettings, StyleSettings, network_size
from fav.util.curve import Curve
from fav.util.fingerprint import hash_of, video_fingerprint
from fav.video import VideoInfo
from fav.video.codecs import EncoderSettings, bytes_per_pixel, film_settings, usual_crf

MAX_SEGMENT_BYTES, MIN_SEGMENT = 256 << 20, 3  # of a segment with independent frames: bytes, frames


def spec_fields(request: Request, source: VideoInfo, out: Path | None = None) -> dict:
    """The fields of a job's spec that follow from the request, without the paths of its files.

    Args:
        request: the command line, with its cuts.
        source: the properties of the video.
        out: the film, if it is made without a job.

    Raises:
        FavError: the film or the network's input is too small or too large.
    """
    start, stop = request.range[0], request.last
    if request.read_cuts and request.cuts is None:
        raise ValueError("expected a request of with_cuts, got one whose cuts were not read")
    if request.chunk == AUTO_CHUNK:
        raise ValueError("expected a request of with_chunk_length, got one whose --chunk was not decided")
    cuts = request.cuts if request.read_cuts else () if request.no_cuts else None
    size = film_size(source, request.width, request.scale)
    for each, label in ((size, "film"), (network_size(size, request.style_scale), "network input")):
        check_size(each, label)
    return {
        **{name: getattr(request, name) for name in VALUE_FIELDS},
        "out": request.out,
        **_encoding_fields(request, size, out),
        **{f"{name}_hash": hash_of(getattr(request, name), name in LINKED_INPUTS) for name in INPUT_FIELDS},
        "mix_hashes": tuple(hash_of(style) for style, _ in request.mix),
        "mix_weights": tuple(weight for _, weight in request.mix),
        "video_hash": video_fingerprint(request.video),
        "start": start,
        "stop": stop,
        "cuts": cuts,
        "precision": best_precision(device_of("cpu")) if request.precision == "auto" else request.precision,
        "width": size[0],
        "height": size[1],
    }


def _encoding_fields(request: Request, size: tuple[int, int], out: Path | None) -> dict:
    """The fields of the encoder. A typed default gives the same fields as no value, so that such jobs are equal."""
    name = str(out or film_name(request))
    default = film_settings(name, request.codec, check=False)
    chosen = film_settings(name, request.codec, pixel_format=request.pixel_format, check=False)
    preset = film_settings(name, request.codec, pixel_format=request.pixel_format, preset=request.preset, check=False)
    return {
        "pixel_format": None if chosen == default else chosen.pixel_format.removesuffix("le"),
        "preset": None if preset == chosen else request.preset,
        "crf": usual_crf(request.codec) if request.crf is None else request.crf,
        "segment_frames": _segment_frames(chosen, size),
    }


def _segment_frames(encoder: EncoderSettings, size: tuple[int, int]) -> int:
    """The maximum number of frames that one task encodes; fewer if frames are large and encoded independently."""
    if not encoder.is_intra:
        return SEGMENT_LENGTH
    frame = bytes_per_pixel(encoder) * size[0] * size[1]
    return max(min(int(MAX_SEGMENT_BYTES / frame), SEGMENT_LENGTH), MIN_SEGMENT)


def settings_from_request(
    request: Request, source: VideoInfo, out: Path | None = None, threads: int | None = None
) -> tuple[StyleSettings, PostprocessSettings, int, int | None, tuple[int, ...] | None, str | None]:
    """The settings of a film that is made in this process, without a job.

    Args:
        request: the command line, with its cuts.
        source: the properties of the video.
        out: the film.
        threads: number of threads, for the film's comment.

    Returns:
        Style settings, postprocessing settings, the first frame, one past the last frame (None: the video's end), the
        cuts (None: detect them), and the film's comment.
    """
    options = spec_fields(request, source, out)
    common = {field.name for field in fields(StyleSettings)} & set(Request.__struct_fields__) - {"precision"}
    size = options["width"], options["height"]
    settings = StyleSettings(
        **{name: getattr(request, name) for name in common - {"mix"}},
        mix=tuple((style, Curve.of(weight)) for style, weight in request.mix),
        size=network_size(size, request.style_scale),
        key=options["video_hash"] + options["style_hash"],
        precision=options["precision"],
    )
    sixteen_bit = film_encoder(request, out).bits > 8
    postprocessing = PostprocessSettings(
        size,
        Curve.of(request.strength),
        request.preserve_colors,
        request.mask,
        sixteen_bit,
        Curve.of(request.mask_strength),
        request.outside is not None,
    )
    record = JobSpec(video="", style="", origin=origin_of(request), **{**options, "threads": threads, "out": str(out)})
    return settings, postprocessing, options["start"], options["stop"], options["cuts"], film_comment(record)
