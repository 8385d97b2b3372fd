"""Where the segments of a film begin: at cuts where that is possible, the same ones however much of the film is known."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fav.stylize.segments import segment_starts, segments_of
from fav.stylize.timeline import Timeline
from tests.helpers.fake_video_job import piece

LENGTH = 30
FILMS = st.tuples(st.integers(1, 400), st.sets(st.integers(1, 399), max_size=40), st.integers(0, 50))


@pytest.mark.parametrize(
    "stop, cuts, expected",
    [
        (1, (), []),
        (143 + 48, (), []),
        (144 + 48, (), [144]),
        (400, (), [144, 288]),
        (400, (47,), [144, 288]),  # too near
        (400, (48,), [48, 192, 336]),
        (400, (100, 120, 144), [100, 244]),
        (400, (100, 160, 390), [100, 160, 304]),
        (200, (150, 190), [144]),
        (150, (110,), []),  # too little is left for another one
    ],
)
def test_borders_are_at_the_first_cut_after_a_third_or_at_the_length(stop, cuts, expected):
    assert segment_starts(0, stop, cuts) == expected


@given(FILMS)
def test_segments_have_a_third_to_four_thirds_of_the_length(film):
    frames, cuts, start = film
    segments = segments_of(start, start + frames, sorted(start + cut for cut in cuts), LENGTH)
    assert [number for segment in segments for number in segment] == list(range(start, start + frames))
    assert all(LENGTH // 3 <= len(segment) <= LENGTH for segment in segments[:-1])
    assert len(segments[-1]) <= LENGTH + LENGTH // 3 and (len(segments) == 1 or len(segments[-1]) >= LENGTH // 3)


@given(FILMS)
def test_borders_that_are_settled_stay_when_more_is_known(film):
    frames, cuts, start = film
    cuts = sorted(start + cut for cut in cuts)
    whole = segment_starts(start, start + frames, cuts, LENGTH)
    for known in range(start, start + frames, 7):
        settled = segment_starts(start, known, [cut for cut in cuts if cut < known], LENGTH)
        assert settled == whole[: len(settled)]


@pytest.mark.parametrize("start, stop", [(0, None), (37, None), (0, 250), (120, 505)])
def test_timeline_finds_them_piece_by_piece(start, stop):
    frames, shot = 720, 37
    timeline = Timeline(start, stop)
    for begin in range(0, frames, 100):
        timeline.add(piece(begin, frames, shot))
        assert all(one.stop == other.start for one, other in pairwise(timeline.segments(LENGTH)))
        if timeline.is_complete:
            break
    assert list(timeline.segments(LENGTH)) == segments_of(start, timeline.end, timeline.cuts, LENGTH)
