"""Check whether `--projection` fits the video."""

from fav.errors import FavError
from fav.pipeline.request import Request
from fav.stylize.cube import check_sphere
from fav.stylize.settings import PROJECTIONS
from fav.video import VideoInfo

FLAT = PROJECTIONS[0]


def check_projection(request: Request, source: VideoInfo, size: tuple[int, int]) -> None:
    """Raise FavError if a video is not of the projection of its request. `size` is (width, height) of stylized frames."""
    if request.projection == FLAT:
        return
    if source.sphere is not None and not source.sphere.is_whole:
        layout = "two views in each frame" if source.sphere.stereo else "a part of the sphere"
        raise FavError(
            f"{request.video}: expected a whole sphere in one view for --projection {request.projection}, but the video says that "
            f"it has {layout}; bring it to that first (ffmpeg's filter v360)"
        )
    check_sphere(*size)


def projection_notes(request: Request, source: VideoInfo) -> tuple[str, ...]:
    """A note if a video is marked as a 360° video, but is stylized as an ordinary one."""
    if request.projection != FLAT or source.sphere is None or not source.sphere.is_whole:
        return ()
    return ("the video says that it is a 360° video; --projection equirectangular stylizes it without seams",)
