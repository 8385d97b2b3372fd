"""A film measured against its source: lengths, sizes, cuts, times, memory, and the command with its files."""

import csv
import json
import weakref
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fav.cli.tools import main
from fav.errors import FavError
from fav.evaluation import report
from fav.evaluation.comparison import (
    EvaluationConfig,
    FrameMetrics,
    FrameSample,
    check,
    measure,
    resize_like_encoder,
    rows,
)
from fav.evaluation.perceptual_metrics import losses_of
from fav.evaluation.report import Evaluation
from fav.flow import make
from fav.flow.consistency import inside_image
from fav.flow.files import read_flow
from fav.synthetic.scene import Scene, view
from fav.util.images import encode_png
from tests.helpers.clips import X264, ffmpeg, frame_times
from tests.helpers.commands import refused
from tests.helpers.material import material

HEIGHT, WIDTH = 66, 98
D = 5  # gray levels


@pytest.fixture(scope="module", autouse=True)
def threads():
    """As many afterwards as before: the commands set the number for the whole process."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def texture(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def gray(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def moments(sources, films, againsts=None, cuts=(), rate: int = 25):
    for number, pictures in enumerate(zip(sources, films, *([againsts] if againsts else []))):
        yield FrameSample(number, Fraction(number, rate), number in cuts, *pictures)


def measured(*arguments, **options) -> list[FrameMetrics]:
    return list(measure(moments(*arguments, **options), make("dis")))


def sequence(directory: Path, pictures) -> str:
    """The pictures as numbered images, a video without any loss."""
    directory.mkdir()
    for number, picture in enumerate(pictures):
        (directory / f"{number:03d}.png").write_bytes(encode_png(picture))
    return str(directory / "%03d.png")


def evaluate(*words):
    return CliRunner().invoke(main, ["evaluate", "--threads", "1", *map(str, words)])


def test_film_that_is_its_source_has_the_error_of_the_floor():
    scene = Scene(160, 96, "pan", frames=1)
    frames = [view(scene, number).image for number in range(30)]
    for row in measured(frames, frames):
        assert row.film == row.source
    assert row.film.warping_error > 0 and row.film.long_term_error > 0 and row.long_frame == 4
    assert 0.5 < row.reliable <= 1 and 0.2 < row.long_reliable < 1


def test_film_of_one_color_is_steady_and_has_no_contrast():
    scene = Scene(160, 96, "handheld", frames=1)
    frames = [view(scene, number).image for number in range(4)]
    for row in measured(frames, [np.full_like(frame, 90) for frame in frames])[1:]:
        assert (row.film.warping_error, row.film.warping_error_all, row.film.local_contrast) == (0, 0, 0)
        assert row.source.local_contrast > 5


@pytest.mark.parametrize("rate, apart, long", [(25, 25, (2 * D / 255) ** 2), (24, 24, 0)])
def test_known_flicker_has_the_error_of_the_formula(rate, apart, long):
    # 100 - 5 and 100 + 5 by turns: from frame to frame 10 levels, over a second 10 or none, as it is odd or even.
    found = measured([texture()] * 30, [gray(100 + (D if number % 2 else -D)) for number in range(30)], rate=rate)
    for row in found[1:]:
        assert row.film.warping_error == pytest.approx((2 * D / 255) ** 2)
        assert row.film.warping_error_all == pytest.approx((2 * D / 255) ** 2 * row.reliable)
    for row in found[apart:]:
        assert row.long_frame == row.frame - apart
        assert row.film.long_term_error == pytest.approx(long, abs=1e-9)
    assert all(row.long_frame is None and row.film.long_term_error is None for row in found[:apart])


def test_known_jump_stands_out_and_nothing_else_does():
    found = measured([texture()] * 40, [gray(100 if number < 20 else 110) for number in range(40)])
    evaluation = Evaluation(EvaluationConfig("", ""), (WIDTH, HEIGHT), tuple(found), seams=(10, 20, 30))
    before, jump, after = evaluation.scores()
    assert jump.score > 3 and before.score < 1 and after.score < 1
    assert found[20].film.warping_error == pytest.approx((10 / 255) ** 2) and found[19].film.warping_error == 0


def test_drift_of_one_gray_level_a_frame_is_found_with_that_slope():
    up, down = ([gray(100 + sign * number) for number in range(30)] for sign in (1, -1))
    found = measured([texture()] * 30, up, down)
    drifts = Evaluation(EvaluationConfig("", "", ""), (WIDTH, HEIGHT), tuple(found)).drifts
    assert [slope.red for slope, _ in drifts.values()] == pytest.approx([1, -1, 2])
    slope, furthest = drifts["film - source"]
    assert (slope.blue, slope.green, slope.red, slope.contrast) == pytest.approx((1, 1, 1, 0))
    assert (furthest.blue, furthest.green, furthest.red, furthest.contrast) == pytest.approx((29, 29, 29, 0))


def test_pairs_across_a_cut_are_left_out():
    sources = [texture(1)] * 30 + [texture(2)] * 30
    found = measured(sources, [gray(50)] * 30 + [gray(200)] * 30, cuts={30})
    assert [row.shot for row in found] == [0] * 30 + [1] * 30
    assert found[30].film.warping_error is None and found[30].reliable is None
    assert [row.long_frame for row in found] == [None] * 25 + list(range(5)) + [None] * 25 + list(range(30, 35))
    assert all(row.film.warping_error == 0 for row in found if row.film.warping_error is not None)
    assert all(row.film.long_term_error == 0 for row in found if row.film.long_term_error is not None)


def test_a_second_earlier_is_what_was_on_the_screen_then():
    times = [0, 0.5, 1.5, 1.6, 1.7, 2.5, 9]
    shown = (FrameSample(number, Fraction(str(time)), False, texture(), gray(9)) for number, time in enumerate(times))
    assert [row.long_frame for row in measure(shown, make("dis"))] == [None, None, 1, 1, 1, 2, 5]


def test_of_a_film_of_any_length_one_second_is_in_memory():
    pictures, most = [], 0

    def watched(number: int) -> FrameSample:
        nonlocal most
        source, film = texture(), gray(9)
        pictures.extend([weakref.ref(source), weakref.ref(film)])
        most = max(most, sum(picture() is not None for picture in pictures))
        return FrameSample(number, Fraction(number, 8), False, source, film)

    *_, last = measure((watched(number) for number in range(60)), make("dis"))
    assert last.long_frame == 51
    assert most <= 2 * (8 + 2)  # of each video a second, the frame itself, and the one that comes


def test_film_shorter_than_a_second_and_of_one_frame():
    short = measured([texture()] * 3, [texture(3)] * 3)
    assert short[2].film.warping_error == 0 and short[2].film.long_term_error is None
    (one,) = measured([texture()], [texture(3)])
    assert one.film.warping_error is None and one.film.local_contrast > 0


def test_losses_are_measured_of_each_film_beside_its_source():
    seen = []

    def losses(picture, source):
        seen.append((int(picture[0, 0, 0]), int(source[0, 0, 0])))
        return float(picture[0, 0, 0]), 7.0, 3.0

    shown = moments([gray(1)] * 2, [gray(30)] * 2, [gray(60)] * 2)
    found = list(measure(shown, make("dis"), losses))
    assert seen == [(30, 1), (60, 1)] * 2
    evaluation = Evaluation(EvaluationConfig("", "", ""), (WIDTH, HEIGHT), tuple(found))
    assert evaluation.ratio("style_loss", "against") == 0.5 and evaluation.ratio("content_loss", "against") == 1
    assert found[1].source.style_loss is None and found[1].film.palette_distance == 3
    assert "style loss" in report.table(evaluation) and len(report.plot(evaluation).axes) == 6


def test_losses_are_one_for_the_untouched_source_and_none_where_nothing_is_amiss(painting, loss_network):
    losses, stripes = losses_of(painting, str(loss_network)), cv2.imread(str(painting))
    source = cv2.resize(texture(), stripes.shape[1::-1])
    style, content, palette = losses(source, source)
    assert style == pytest.approx(1, abs=0.02) and content == 0  # 7 pixels of each side are left out
    assert palette > 30
    style, content, palette = losses(stripes, source)
    assert style < 0.05 and content > 0.1 and palette == pytest.approx(0, abs=1)


def test_source_comes_to_the_size_of_the_film():
    odd = texture()[:65, :97]
    even = resize_like_encoder(odd, (98, 66))
    assert np.array_equal(even[:65, :97], odd)
    assert np.array_equal(even[65, :97], odd[64]) and np.array_equal(even[:, 97], even[:, 96])
    assert resize_like_encoder(texture(), (49, 33)).shape == (33, 49, 3)
    assert np.array_equal(resize_like_encoder(texture(), (98, 66)), texture())


def test_files_say_the_same_as_the_table(tmp_path):
    scene = Scene(96, 64, "pan", frames=40)
    sources = [view(scene, number).image for number in range(40)]
    video = sequence(tmp_path / "source", sources)

    def brighter(by: int) -> list[np.ndarray]:
        return [cv2.add(source, np.full_like(source, by + number % 2)) for number, source in enumerate(sources)]

    films = [sequence(tmp_path / name, brighter(by)) for name, by in (("film", 10), ("against", 20))]
    result = evaluate(video, films[0], "--against", films[1], "--seams", "10,30", "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "found.json").read_text())
    lines = list(csv.DictReader(open(tmp_path / "found.csv", newline="")))
    assert len(lines) == len(record["frames"]) == 40 and record["cuts"] == [20]
    for line, frame in zip(lines, record["frames"]):
        for name, text in line.items():
            film, _, measure_name = name.partition("_")
            value = frame[film][measure_name] if film in ("film", "source", "against") else frame[name]
            assert text == ("" if value is None else str(value)), name
    errors, others = ([frame[film]["warping_error"] for frame in record["frames"]] for film in ("film", "against"))
    assert [number for number, error in enumerate(errors) if error is None] == [0, 20]
    known, theirs = ([error for error in column if error is not None] for column in (errors, others))
    total = {"mean": np.mean(known), "p95": np.percentile(known, 95)}
    assert record["totals"]["film"]["warping_error"] == pytest.approx(total)
    assert record["ratios"]["film/against"]["warping_error"] == pytest.approx(np.mean(known) / np.mean(theirs))
    assert [seam["frame"] for seam in record["seams"]] == [10, 30]
    assert f"{total['mean']:.4g}" in result.output and f"z = {record['seams'][0]['score']:+.1f}" in result.output
    assert cv2.imread(str(tmp_path / "found.png")).shape[1] == 1100
    assert {file.name for file in tmp_path.iterdir() if file.is_file()} == {"found.csv", "found.json", "found.png"}


def test_plot_shows_the_rows():
    found = tuple(measured([texture()] * 30, [gray(100 + number) for number in range(30)], [gray(7)] * 30, cuts={15}))
    evaluation = Evaluation(EvaluationConfig("", "", ""), (WIDTH, HEIGHT), found, seams=(20,))
    errors, long, drifts, contrasts = report.plot(evaluation).axes
    shown = dict(zip(("film", "source", "against"), errors.lines))
    assert [line.get_label() for line in errors.lines[:3]] == list(shown)
    for film, line in shown.items():
        values = [np.nan if value is None else value for value in evaluation.values(film, "warping_error")]
        assert np.array_equal(line.get_ydata(), values, equal_nan=True) and list(line.get_xdata()) == list(range(30))
    assert list(drifts.lines[0].get_ydata()) == [*range(15), *range(15)]  # away from the first frame of each shot
    assert list(contrasts.lines[2].get_ydata()) == [0] * 30 and list(contrasts.lines[3].get_xdata()) == [14.5, 14.5]


def test_a_part_of_the_video_is_measured_with_its_frame_numbers(tmp_path):
    frames = [texture(number) for number in range(12)]
    video, film = sequence(tmp_path / "v", frames), sequence(tmp_path / "f", frames[4:9])
    found = list(rows(EvaluationConfig(video, film, start=4, stop=9, cuts=())))
    assert [row.frame for row in found] == [4, 5, 6, 7, 8] and all(row.film == row.source for row in found)
    cut = rows(EvaluationConfig(video, film, start=4, stop=9, cuts=(2, 6)))
    assert [row.frame for row in cut if row.reliable is None] == [4, 6]


def test_films_of_another_length_are_refused_with_both_numbers(tmp_path):
    frames = [texture(number) for number in range(9)]
    video, film, longer = (sequence(tmp_path / name, frames[:count]) for name, count in (("v", 6), ("f", 4), ("l", 9)))
    for name, count in ((film, 4), (longer, 9)):
        cure = "--range START:STOP" if count < 6 else "the order is VIDEO STYLIZED"
        words = f"{name}: expected 6 frames like {video}, got {count}", cure
        refused(evaluate(video, name, "--out", tmp_path / "found"), *words)
        with pytest.raises(FavError) as error:  # also where no container knows beforehand
            list(rows(EvaluationConfig(video, name)))
        assert all(word in str(error.value) for word in words)
    refused(evaluate(video, film, "--range", "1:4", "--out", tmp_path / "found"), "expected 3 of the 6 frames", "got 4")
    refused(evaluate(video, film, "--range", "7:", "--out", tmp_path / "found"), "START below", "(6)")
    with pytest.raises(FavError, match="more than 7 frames"):
        list(rows(EvaluationConfig(video, film, start=7)))
    with pytest.raises(FavError, match=r"expected 6 frames .*, got 4"):
        list(rows(EvaluationConfig(video, video, against=film)))
    assert list(tmp_path.glob("found*")) == []


def test_frames_that_no_container_counted_are_counted_at_the_end(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12:duration=1", *X264, tmp_path / "v.mkv")
    ffmpeg("-i", tmp_path / "v.mkv", "-frames:v", 7, *X264, tmp_path / "f.mkv")
    assert check(EvaluationConfig(str(tmp_path / "v.mkv"), str(tmp_path / "f.mkv")))[2] is None
    refused_late = evaluate(tmp_path / "v.mkv", tmp_path / "f.mkv")
    assert (
        refused_late.exit_code == 2 and "expected 12 frames" in refused_late.output and "got 7" in refused_late.output
    )
    assert "Traceback" not in refused_late.output and {file.name for file in tmp_path.iterdir()} == {"v.mkv", "f.mkv"}


def test_bad_inputs_are_one_line_before_any_work(tmp_path, painting):
    video = sequence(tmp_path / "v", [texture(number) for number in range(3)])
    other = sequence(tmp_path / "o", [texture(number)[:60] for number in range(3)])
    (tmp_path / "text.mp4").write_text("this is no video")
    for words, told in (
        ((tmp_path / "missing.mp4", video), ["missing.mp4"]),
        ((video, tmp_path / "missing.mp4"), ["missing.mp4"]),
        ((video, tmp_path / "text.mp4"), ["text.mp4"]),
        ((video, video, "--against", tmp_path / "none.mp4"), ["none.mp4"]),
        ((video, video, "--against", other), ["98x66", "98x60"]),
        ((video, video, "--flow", "spynet"), ["--flow-weights"]),
        ((video, video, "--no-cuts", "--read-cuts", "c.csv"), ["--no-cuts", "--read-cuts"]),
        ((video, video, "--read-cuts", tmp_path / "c.csv"), ["c.csv"]),
        ((video, video, "--range", "3:1"), ["--range", "3:1"]),
        ((video, video, "--seams", "1,3"), ["--seams", "0 to 2", "1, 3"]),
        ((video, video, "--style", tmp_path / "s.jpg"), ["s.jpg"]),
        ((video, video, "--style", painting, "--loss-network", tmp_path / "n.pth"), ["n.pth"]),
        ((video, video, "--out", tmp_path / "no" / "where"), ["existing directory"]),
    ):
        refused(evaluate(*words, *(() if "--out" in words else ("--out", tmp_path / "found"))), *told)
    assert evaluate(video, video, "--seams", "1,x").exit_code == 2
    (tmp_path / "found.png").write_text("precious")
    refused(evaluate(video, video, "--out", tmp_path / "found"), "found.png", "exists")
    assert (tmp_path / "found.png").read_text() == "precious" and not (tmp_path / "found.csv").exists()


def test_film_made_here_is_measured_from_one_command_to_the_next(clip, style, tmp_path):
    film = tmp_path / "film.mp4"
    words = ["stylize", str(clip), str(style), str(film), "--width", "97", "--threads", "1", "--range", "8:22"]
    made = CliRunner().invoke(main, words)
    assert made.exit_code == 0, made.output
    result = evaluate(clip, film, "--range", "8:22")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "film.evaluation.json").read_text())
    assert [frame["frame"] for frame in record["frames"]] == list(range(8, 22))
    assert record["cuts"] == [14] and (record["width"], record["height"]) == (98, 66)
    assert record["totals"]["film"]["warping_error"]["mean"] > 0 and record["totals"]["film"]["long_term_error"] is None


def test_true_flow_from_files_takes_the_place_of_a_method(tmp_path, monkeypatch):
    """Of a scene all of which is known: the error that is left is that of the pictures, and reliability is what is in sight."""
    scene = tmp_path / "scene"
    words = ["sample", str(scene), "--truth", "--motion", "pan", "--size", "96x64", "--frames", "13"]
    assert CliRunner().invoke(main, words).exit_code == 0
    frames, given = str(scene / "frame_%04d.png"), {"--read-cuts": scene / "cuts.csv", "--out": tmp_path / "out"}
    given |= {"--flow-from": scene / "flow_bwd_%04d.flo", "--reliability-from": scene / "reliability_%04d.png"}
    run = CliRunner().invoke(
        main, ["evaluate", frames, frames, *(str(word) for pair in given.items() for word in pair)]
    )
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "out.json").read_text())
    truth = read_flow(scene / "flow_bwd_0003.flo")[0]
    mask = cv2.imread(str(scene / "reliability_0003.png"), 0) >= 128
    wanted = cv2.erode((mask & inside_image(truth)).astype(np.uint8), np.ones((7, 7), np.uint8)).mean()
    assert found["frames"][3]["reliable"] == pytest.approx(wanted) and 0.2 < wanted < 1
    (scene / "flow_bwd_0003.flo").unlink()
    given["--out"] = tmp_path / "again"
    again = CliRunner().invoke(
        main, ["evaluate", frames, frames, *(str(word) for pair in given.items() for word in pair)]
    )
    refused(again, "1 are missing; the first is flow_bwd_0003.flo")


def test_video_of_one_frame_has_a_report(tmp_path):
    video = sequence(tmp_path / "v", [texture()])
    result = evaluate(video, video, "--seams", "0", "--out", tmp_path / "found")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "found.json").read_text())
    assert "z = –" in result.output and record["totals"]["film"]["warping_error"] is None
    assert cv2.imread(str(tmp_path / "found.png")) is not None


def test_variable_frame_rate_is_measured_by_its_times(tmp_path):
    video = tmp_path / "v.mkv"
    thinned = "-vf", r"select='lt(n\,10)+not(mod(n\,5))'", "-vsync", "vfr"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=3", *thinned, *X264, video)
    times = frame_times(video)
    assert len(times) == 14 and max(np.diff(times)) > 0.4
    found = list(rows(EvaluationConfig(str(video), str(video), cuts=())))
    expected = [max((early for early, time in enumerate(times) if time <= now - 1), default=None) for now in times]
    assert [row.long_frame for row in found] == expected and found[-1].film == found[-1].source


def test_real_film_has_the_floor_that_is_known_of_it(tmp_path):
    # Frame 7 repeats frame 6 in the file itself; elsewhere the source's own warping error is a few ten-thousandths.
    video = material("videos/bigbuckbunny.mp4")
    ffmpeg("-i", video, "-frames:v", 9, "-vf", "scale=320:180", *X264, "-crf", 10, tmp_path / "film.mp4")
    found = list(rows(EvaluationConfig(str(video), str(tmp_path / "film.mp4"), stop=9)))
    assert found[7].source.warping_error < 5e-6
    assert all(5e-6 < row.source.warping_error < 0.0005 and row.reliable > 0.9 for row in found[1:7])
    assert all(row.film.warping_error < 2 * row.source.warping_error + 2e-5 for row in found[1:])
