"""Check whether `--projection` fits the video."""

from fav.errors import FavError
from fav.pipeline.request import Request
from fav.stylize.cube import check_sphere
from fav.stylize.settings import PROJECTIONS
from fav.video import VideoInfo
from fav.video.spherical import Sphere

FLAT = PROJECTIONS[0]


def check_projection(request: Request, source: VideoInfo, size: tuple[int, int]) -> None:
    """Raise FavError if a video is not of the projection of its request. `size` is (width, height) of stylized frames."""
    if request.projection == FLAT:
        return
    if source.sphere is not None and not source.sphere.is_whole:
        seen, edit, name = _cure(source.sphere, source.width, source.height)
        raise FavError(
            f"{request.video}: expected a whole sphere in one view for --projection {request.projection}, but the video says that "
            f"it shows {seen} first: ffmpeg -i VIDEO -vf {edit} {name}.mp4"
        )
    check_sphere(*size)


def _cure(sphere: Sphere, width: int, height: int) -> tuple[str, str, str]:
    """What is wrong with a sphere and what to do, FFmpeg's filter that does it, and a name for the result."""
    if sphere.stereo:
        half = "crop=iw:ih/2:0:0" if sphere.stereo == 1 else "crop=iw/2:ih:0:0"
        return "two views in each frame; take one of them", half, "left"
    top, bottom, left, right = (missing / (1 << 32) for missing in sphere.bounds)
    whole = [round(width / max(1 - left - right, 0.01)), round(height / max(1 - top - bottom, 0.01))]
    place = [round(left * whole[0]), round(top * whole[1])]
    return "a part of the sphere; pad it to the whole one", "pad=" + ":".join(map(str, whole + place)), "whole"


def projection_notes(request: Request, source: VideoInfo) -> tuple[str, ...]:
    """A note if a video is marked as a 360° video, but is stylized as an ordinary one."""
    if request.projection != FLAT or source.sphere is None or not source.sphere.is_whole:
        return ()
    return ("the video says that it is a 360° video; --projection equirectangular stylizes it without seams",)
