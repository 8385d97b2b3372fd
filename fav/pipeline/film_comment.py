"""The comment in a film's metadata: the command that makes the film again.

It depends only on the job's record, and has no user, host, time or directory. So the same job gives the same bytes anywhere.
"""

import os
import shlex
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import fav
from fav.errors import sanitize
from fav.pipeline.option import FRAMES, OUTPUT, is_unset
from fav.pipeline.request import Request
from fav.pipeline.spec import INPUT_FIELDS, OPTIONS, JobSpec
from fav.stylize.settings import PostprocessSettings
from fav.util.image_sequence import is_sequence

LONGEST_NAME, LONGEST = 200, 8000  # characters
MOST_CUTS = 500  # maximum number of cuts in the comment
# Options that do not change the film, or only its name, or are expressed otherwise.
LEFT_OUT = {"evaluate", "loss_network", "out", "width", "scale", "flow_unchecked"}


def origin_of(request: Request) -> dict[str, str]:
    """Return the parts of a command line that a film's comment needs, for the job's record.

    Args:
        request: What was typed.

    Returns:
        The program's `version`; names of files without directories, by `video`, `style`, their option, and `mix-1` and so on; and
        the `size` as it was typed.
    """
    named: dict[str, Any] = {"video": request.video, "read_cuts": request.read_cuts}
    named |= {name: getattr(request, name) for name in INPUT_FIELDS if name not in LEFT_OUT}
    named |= {f"mix-{number}": style for number, (style, _) in enumerate(request.mix, 1)}
    sizes = [OPTIONS[name].as_typed(value) for name in ("width", "scale") if (value := getattr(request, name))]
    return {
        "version": fav.__version__,
        **{name: short_name(path) for name, path in named.items() if path is not None},
        **({"size": sizes[0]} if sizes else {}),
    }


def short_name(path: Path | str) -> str:
    """Return a file's name. Numbered images get the name of their directory, too, because their own names are all alike."""
    whole = Path(os.path.abspath(path))
    name = f"{whole.parent.name}/{whole.name}" if is_sequence(str(path)) else whole.name
    return sanitize(name, LONGEST_NAME)


def film_comment(spec: JobSpec) -> str | None:
    """Return the comment of a job's film; None for a job of a version that did not record what it needs.

    The options are those of the record, as they are typed. Defaults, and options that do not change the film, are left out.
    """
    if not spec.origin:
        return None
    names = {name: sanitize(text, LONGEST_NAME) for name, text in spec.origin.items()}
    style, video = names.get("style", "style"), names.get("video", "video")
    hashes = [(video, spec.video_hash), (style, spec.style_hash)]
    hashes += [(names.get(f"mix-{number}", f"mix-{number}"), each) for number, each in enumerate(spec.mix_hashes, 1)]
    words = [names["size"]] if "size" in names else []
    for name, option in OPTIONS.items():
        if option.changes not in (FRAMES, OUTPUT) or name in LEFT_OUT:
            continue
        value = _value(spec, names, name)
        if is_unset(value) or value == option.default:
            continue
        words.append(option.as_typed(value))
        if name in INPUT_FIELDS:
            hashes.append((str(value), getattr(spec, f"{name}_hash")))
    line = " ".join(["fav run SHARED", shlex.quote(video), shlex.quote(style), *words])
    fingerprints = ", ".join(f"{name} {each}" for name, each in dict.fromkeys(hashes))
    cuts = f"; cuts: {_cuts(spec.cuts)}" if spec.cuts else ""
    return sanitize(f"made by fav {names.get('version', '')}: {line}; fingerprints: {fingerprints}{cuts}", LONGEST)


def with_postprocessing(
    spec: JobSpec, settings: PostprocessSettings, mask: Path | None, mask_hash: str | None
) -> JobSpec:
    """Return the record that a film of the same frames would have with other postprocessing.

    Args:
        spec: The record of the job, or of a film with another encoder.
        settings: The postprocessing.
        mask: A mask as it was typed; None if the mask is the job's, or there is none.
        mask_hash: The mask's fingerprint; None without a mask.
    """
    names = {"mask": short_name(mask)} if mask else {}
    return replace(
        spec,
        strength=settings.strength.typed,
        mask_strength=settings.mask_strength.typed,
        preserve_colors=settings.preserve_colors,
        mask_hash=mask_hash,
        origin=spec.origin and {**spec.origin, **names},
    )


def _value(spec: JobSpec, names: dict[str, str], name: str) -> Any:
    """Return the value of an option in a record, with the names of files that the user knows."""
    if name in INPUT_FIELDS:
        return Path(names.get(name, name)) if getattr(spec, f"{name}_hash") else None
    match name:
        case "range":
            return (spec.start, spec.stop) if spec.start else None
        case "frames":
            return None if spec.start else spec.stop
        case "mix":
            mixed = enumerate(spec.mix_weights, 1)
            return tuple((Path(names.get(f"mix-{number}", f"mix-{number}")), weight) for number, weight in mixed)
        case "no_cuts":
            return spec.cuts == ()
        case "read_cuts":
            return Path(names.get(name, "FILE")) if spec.cuts else None
        case "crf":
            from fav.video.codecs import usual_crf

            return None if spec.crf == usual_crf(spec.codec) else spec.crf
    return getattr(spec, name)


def _cuts(cuts: tuple[int, ...]) -> str:
    more = f" and {len(cuts) - MOST_CUTS} more" if len(cuts) > MOST_CUTS else ""
    return " ".join(map(str, cuts[:MOST_CUTS])) + more
