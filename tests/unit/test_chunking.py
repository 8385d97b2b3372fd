"""What `--chunk auto` decides: by the film's length and size, by its shots, and by how long a style depends on earlier frames."""

from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from fav.pipeline import chunking
from fav.pipeline.chunking import KEPT, chunk_length, kept_past, with_chunk
from fav.pipeline.option import AUTO_CHUNK
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.video import probe

SHIPPED = [Path(__file__).parents[2] / "styles" / f"{name}.safetensors" for name in ("wave", "starry_night")]
HD = (1920, 1080)
HOUR = 90_000  # frames


@pytest.fixture
def source(clip):
    """What a video of five minutes in 1920x1080 is."""
    from dataclasses import replace as changed

    return changed(probe(clip), frames=7500, rate=Fraction(25), width=1920, height=1080)


def asked(clip, style: Path, **options) -> Request:
    return Request(video=str(clip), style=style, chunk=AUTO_CHUNK, given=frozenset({"chunk"}), **options)


def test_longer_films_have_longer_chunks():
    lengths = [chunk_length(frames, HD) for frames in (1000, 7500, HOUR, 2 * HOUR, 10**6)]
    assert lengths == [48, 48, 140, 198, 240]
    assert all(OPTIONS["chunk"].accepts(length) for length in lengths)


def test_work_that_is_repeated_and_waiting_are_balanced():
    """Of all lengths, none makes the repeated frames and the half chunk that 64 nodes wait for less."""
    frames = HOUR
    cost = lambda length: 7 / length + length / 2 / (frames / 64)
    assert chunk_length(frames, HD) == min(range(48, 241), key=cost)


def test_short_films_and_short_shots_stay_whole():
    assert chunk_length(600, (640, 358)) is None and chunk_length(600, (640, 360)) == 48
    assert chunk_length(100, HD) is None  # fewer than three chunks
    assert chunk_length(7500, HD, longest=143) is None and chunk_length(7500, HD, longest=144) == 48


def test_film_of_unknown_length_has_the_shortest_chunks():
    assert chunk_length(None, (64, 48)) == 48


@pytest.mark.parametrize("style", SHIPPED, ids=lambda path: path.stem)
def test_styles_that_ship_forget_their_past(style):
    assert kept_past(style) < KEPT / 5


def test_style_that_depends_on_many_earlier_frames_is_not_divided(clip, source, monkeypatch):
    class Keeping:
        """Shows what it showed before."""

        def __init__(self, network):
            pass

        def stylize(self, frame, warped=None, reliability=None, fill=None):
            return frame if warped is None else warped.round().clip(0, 255).astype("uint8")

    monkeypatch.setattr(chunking, "StyleRunner", Keeping)
    chunking._kept_past.cache_clear()
    request, said = with_chunk(asked(clip, SHIPPED[0]), source, HD)
    chunking._kept_past.cache_clear()
    assert request.chunk is None and request.auto_chunk and "earlier frames" in said[0]


def test_decision_is_told_and_is_that_of_the_film_that_is_asked_for(clip, source, tmp_path):
    style = SHIPPED[0]
    request, said = with_chunk(asked(clip, style), source, HD)
    assert request.chunk == 48 and said == (
        "--chunk auto: shots of 144 frames or more are painted in parts of 48 frames by several nodes at the same "
        "time, which adds 15% to their work",
    )
    for options in ({"range": (100, 200)}, {"frames": 100}, {"no_temporal": True}):
        request, said = with_chunk(asked(clip, style, **options), source, HD)
        assert request.chunk is None and "stay whole" in said[0]
    file = tmp_path / "cuts"
    for cuts, length in ((tuple(range(100, 7500, 100)), None), ((100, 7400), 48)):
        request, _ = with_chunk(asked(clip, style, read_cuts=file, cuts=cuts), source, HD)
        assert request.chunk == length
    typed = replace(asked(clip, style), chunk=30)
    assert with_chunk(typed, source, HD) == (typed, ())
