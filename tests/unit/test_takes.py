"""What the benchmarks of long takes rest on: takes, differences, schemes of chunks, and the play of many nodes."""

import click
import numpy as np
import pytest

from benchmarks import chunks, reel
from benchmarks.forgetting import difference, forgetting
from benchmarks.makespan import Costs, FileServer, makespan
from benchmarks.take import Take, check, takes
from fav.model.network import StyleNetwork
from fav.model.runner import StyleRunner
from fav.stylize.blend import blend
from fav.stylize.chain import chunk_starts
from tests.helpers.pictures import gray
from tests.helpers.video_jobs import TINY


@pytest.fixture(scope="module")
def take() -> Take:
    ((_, found),) = takes(StyleRunner(StyleNetwork(TINY, 7), threads=1), "pan", (), 36, 128, "dis", again=False)
    return found


def test_longest_shot_is_the_first_of_several_of_its_length():
    frames = [(gray(number), number, number in (0, 2, 5)) for number in range(8)]
    assert [int(picture[0, 0, 0]) for picture in reel.longest_shot(frames)] == [2, 3, 4]


def test_difference_of_pictures():
    other = gray(50)
    other[:24] = 60  # half of it
    found = difference(gray(50), other)
    assert np.isclose(found.rmse, np.sqrt(50)) and found.most == 10 and found.equal == 0.5


def test_chain_that_begins_with_the_take_is_the_same_for_ever(take):
    assert np.array_equal(forgetting(take, (0,), 5), [[0, 0, 100]] * 5)


def test_unknown_takes_are_named():
    def fail(words: str) -> None:
        raise ValueError(words)

    with pytest.raises(ValueError, match="still, got dive"):
        check("pan,dive", (), fail)


@pytest.mark.slow
def test_all_schemes_begin_as_the_plain_chain_does_and_tell_their_work(take):
    size, lead = 12, 3
    plain = chunks.off(take, size).pictures
    for name, scheme in chunks.schemes(lead).items():
        film = scheme(take, size)
        alike = size - lead - getattr(scheme, "window", 0)
        assert len(film.pictures) == len(take) and all(map(np.array_equal, film.pictures[:alike], plain)), name
        assert film.painted >= len(take) and film.serial <= film.painted, name
    assert chunks.schemes(lead)["warm-up 3"](take, size).painted == len(take) + 2 * lead
    assert all(map(np.array_equal, chunks.repaired(take, 12).pictures, plain))  # an untrained style forgets nothing


def test_moved_boundaries_lie_where_least_is_reliable_within_the_window(take):
    lead, size, window = 3, 12, 8
    film = chunks.schemes(lead)[f"warm-up {lead}, cross-faded, moved"](take, size)
    means = [take.steps[number].reliability.mean() for number in range(1, len(take))]
    for fixed, moved in zip(chunk_starts(len(take), size), film.edges, strict=True):
        at = {edge: sum(means[edge - lead : edge]) for edge in range(fixed - window, fixed + window + 1)}
        assert np.isclose(at[moved], min(at.values()))


@pytest.mark.slow
def test_cross_fade_of_the_benchmark_is_that_of_films(take):
    film, hard = (chunks.schemes(3)[name](take, 12).pictures for name in ("warm-up 3, cross-faded", "warm-up 3"))
    lead = list(take.chain(9, 12))
    for place in range(3):
        assert np.array_equal(film[9 + place], blend(hard[9 + place], lead[place], (place + 1) / 4))
    assert all(map(np.array_equal, film[12:21], hard[12:21]))


def test_three_nodes_paint_three_chunks_in_the_time_of_the_longest():
    costs = Costs(paint=0.1, index=0.0, demux=0.0, encode=0.0, mux=0.0, frame_bytes=0.0, film_bytes=0.0)
    _, off, painted = makespan(144, [], None, 3, costs, FileServer())
    assert np.isclose(off, 14.4, atol=0.3) and painted == 144
    _, chunked, painted = makespan(144, [], 48, 3, costs, FileServer())
    assert np.isclose(chunked, 5.5, atol=0.6) and painted == 144 + 2 * 7


def test_index_takes_many_nodes_less_time(monkeypatch):
    monkeypatch.setattr("fav.pipeline.index_tasks.LEAST_FRAMES", 100)
    monkeypatch.setattr("benchmarks.makespan.LEAST_RANGE", 40)
    costs = Costs(paint=0.0, index=0.05, demux=0.0, encode=0.0, mux=0.0, frame_bytes=0.0, film_bytes=0.0)
    alone, shared = (makespan(480, [], None, 8, costs, FileServer(), in_ranges)[0] for in_ranges in (False, True))
    assert np.isclose(alone, 25, atol=0.5) and shared < 10  # the last piece counts as a whole one


def test_file_server_is_slower_by_what_nodes_read_about_each_other():
    assert FileServer.beside_looks(5000, 1e6, 32) == FileServer(5000 - 32 * 32 * 4 / 4, 1e6)
    assert FileServer.beside_looks(0, 1e6, 512) == FileServer(0, 1e6), "no limit"
    with pytest.raises(click.ClickException, match="512 nodes ask for 23302 operations a second"):
        FileServer.beside_looks(5000, 1e6, 512)


def test_slow_node_does_not_keep_the_others_waiting():
    costs = Costs(paint=0.4, index=0.0, demux=0.0, encode=0.0, mux=0.0, frame_bytes=0.0, film_bytes=0.0)
    span, _, painted = makespan(
        190, [100], None, [4.0, 1.0], costs, FileServer()
    )  # alone, it needs 144 s for the 90 frames
    assert painted == 190 and 190 * 0.4 / 1.25 <= span < 70
