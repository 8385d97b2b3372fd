"""Replace options of a request by what they stand for: the cuts of a file, `--chunk auto`, the loss network's file."""

from msgspec.structs import replace

from fav.errors import FavError, sanitize
from fav.pipeline.film_output import film_size
from fav.pipeline.option import AUTO_CHUNK
from fav.pipeline.request import Request
from fav.pipeline.spec import LOSS_NETWORK
from fav.stylize.settings import network_size
from fav.video import VideoInfo
from fav.video.shot_detection import read_cuts


def with_cuts(request: Request) -> tuple[Request, tuple[str, ...]]:
    """Read the cuts of a request's file, which may be a pipe and is read only here.

    Returns:
        The request with its cuts, and notes for the user.
    """
    if not request.read_cuts:
        return request, ()
    cuts = read_cuts(request.read_cuts)
    return replace(request, cuts=cuts), (
        f"{len(cuts)} cut{'s'[: len(cuts) != 1]} read from {sanitize(request.read_cuts)}",
    )


def with_chunk_length(request: Request, source: VideoInfo) -> tuple[Request, tuple[str, ...]]:
    """The request with what `--chunk auto` decides (`fav.pipeline.chunking`), and a note on it."""
    if request.chunk != AUTO_CHUNK:
        return request, ()
    from fav.pipeline.chunking import with_chunk  # of use to few jobs, and slow to import

    return with_chunk(
        request, source, network_size(film_size(source, request.width, request.scale), request.style_scale)
    )


def with_loss_network(request: Request) -> tuple[Request, tuple[str, ...]]:
    """Find the file of a request's loss network.

    Returns:
        The request with the file, and notes for the user. The file is None if the default network is not available.

    Raises:
        FavError: a network was typed and is not available.
    """
    if not request.evaluate:
        return request, ()
    from fav.perceptual.pretrained import PUBLISHED, cached_network

    name = str(request.loss_network or LOSS_NETWORK)
    try:
        return replace(request, loss_network=cached_network(name) if name in PUBLISHED else request.loss_network), ()
    except FavError as error:
        if request.loss_network:
            raise
        return request, (f"the film is measured without style and content loss: {error}",)
