"""Shots of a film whose index still grows, and the record of its options."""

from fractions import Fraction
from pathlib import Path

import pytest

from fav.errors import FavError
from fav.pipeline.spec import JobSpec
from fav.stylize.timeline import IndexSegment, Timeline
from tests.helpers.timelines import SPEC, piece


def runs(timeline: Timeline) -> list[tuple[int, int, bool]]:
    return [(run.start, run.stop, run.is_final) for run in timeline.chains]


def test_last_shot_is_open_until_the_next_cut_or_the_end():
    timeline = Timeline()
    timeline.add(piece(0, 10, 4))
    assert runs(timeline) == [(0, 4, True), (4, 10, False)] and not timeline.is_complete
    timeline.add(piece(10, 10, 13))
    assert runs(timeline) == [(0, 4, True), (4, 13, True), (13, 20, False)]
    timeline.add(piece(20, 5, last=True))
    assert runs(timeline) == [(0, 4, True), (4, 13, True), (13, 25, True)] and timeline.is_complete


def test_growing_shot_keeps_what_it_has_done():
    timeline = Timeline()
    timeline.add(piece(0, 10))
    timeline.chains[0].done = 7
    timeline.add(piece(10, 10, 15))
    assert (timeline.chains[0].done, timeline.chains[0].remaining, timeline.chains[1].done) == (7, 8, 0)


def test_range_cuts_off_what_lies_outside():
    timeline = Timeline(start=3, stop=12)
    timeline.add(piece(0, 10, 2, 5))
    assert runs(timeline) == [(3, 5, True), (5, 10, False)]
    timeline.add(piece(10, 10, 15))
    assert runs(timeline) == [(3, 5, True), (5, 12, True)] and timeline.is_complete and timeline.end == 12


@pytest.mark.parametrize("cuts, start, stop, expected", [
    ((10, 30), 0, 50, [(0, 10), (10, 30), (30, 50)]), ((30, 0, 10, 10, 50, 99), 0, 50, [(0, 10), (10, 30), (30, 50)]),
    ((10, 30), 10, 31, [(10, 30), (30, 31)]), ((), 3, 4, [(3, 4)]), ((5,), 4, 4, []),
])  # fmt: skip
def test_shots_lie_between_cuts(cuts, start, stop, expected):
    timeline = Timeline(start, stop)
    timeline.add(piece(0, 100, *cuts))
    assert [(first, last) for first, last, _ in runs(timeline)] == expected


def test_forward_and_backward_chains():
    timeline = Timeline(reverse=True)
    timeline.add(piece(0, 10, 4, last=True))
    run = timeline.chain_of(5)
    assert [run.frame(position) for position in range(6)] == [9, 8, 7, 6, 5, 4]
    assert run.predecessor(9) is None and run.predecessor(5) == 6 and run.index_of(9) == 0
    timeline = Timeline()
    timeline.add(piece(0, 10, 4, last=True))
    assert timeline.chain_of(4).predecessor(4) is None and timeline.chain_of(5).predecessor(5) == 4


def test_independent_frames_are_dealt_out_in_pieces():
    timeline = Timeline(independent=True)
    timeline.add(piece(0, 10, 4))
    timeline.add(piece(10, 10))
    assert runs(timeline) == [(0, 10, True), (10, 20, True)]


def test_pieces_read_back_and_come_in_order():
    whole = piece(0, 3, 1, last=True)
    again = IndexSegment.from_json(whole.to_json())
    assert again.to_json() == whole.to_json() and again.index.time_base == Fraction(1, 25)
    with pytest.raises(ValueError, match="expected frame 0, got frame 5"):
        Timeline().add(piece(5, 3))


def test_record_of_a_job_reads_back():
    assert JobSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize("change", [
    {"video": "/etc/passwd"}, {"style": "../../secret"}, {"out": "a/../../b.mp4"}, {"seed": ""}, {"newer": 1}, {"cuts": ["x"]},
    {"width": "wide"}, {"crf": "x"}, {"flow": 3}, {"reverse": "yes"},
])  # fmt: skip
def test_record_that_leads_out_of_the_share_or_is_not_ours_is_refused(change):
    with pytest.raises(FavError):
        JobSpec.from_json({**SPEC.to_json(), **change})


def test_paths_of_the_look_are_on_this_machine():
    look = SPEC.style_settings(Path("/mnt/film"))
    assert look.style == Path("/mnt/film/jobs/x/inputs/style.pth") and look.size == (64, 48) and look.init_frame is None
