"""`--evaluate` on a job: what is measured while a film is made is what the command measures of its published frames."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import coordinator
from fav.cli.tools import main
from fav.evaluation.comparison import LONG_S, FrameMetrics, first_needed_frame
from fav.perceptual import pretrained
from fav.pipeline.delivery import evaluation_name
from fav.pipeline.plan import make_plan
from fav.pipeline.progress import evaluated
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import REPORTS, WINDOW_FRAMES, frame_task, measure_task
from fav.video import FrameIndex
from shared import attempts, results
from shared.claims import Claims, claimed
from shared.heartbeat import temporary_member
from shared.identity import DECODE_ERRORS, read_identity
from shared.jobs import Job, all_jobs
from shared.shared_dir import open_share
from tests.helpers import video_jobs as films
from tests.helpers.clips import X264, ffmpeg
from tests.helpers.commands import refused
from tests.helpers.toy_plan import RecordingEvents
from tests.helpers.training_material import torchvision_state
from tests.helpers.video_jobs import create, film_of, frames_of, start_node, work
from tests.helpers.waiting import wait_for

FRAMES, CUT = 104, 72  # at 12 a second: three spans, the second with a cut in it


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On few busy cores; the command's own --threads sets it for the whole process."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """FFmpeg's test pictures, which move, and others after a cut; 98x62 pixels."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    first, second = f"duration={CUT / 12}", f"duration={(FRAMES - CUT) / 12},hue=h=120"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"testsrc2=size=98x62:rate=12:{first}",
        "-f",
        "lavfi",
        "-i",
        f"testsrc=size=98x62:rate=12:{second}",
        "-filter_complex",
        "[0:v][1:v]concat=n=2[v]",
        "-map",
        "[v]",
        *X264,
        path,
    )
    return path


@pytest.fixture(scope="module")
def against(tmp_path_factory) -> dict[str, Path]:
    """The options of an evaluation: a painting of stripes, and a loss network that was never trained."""
    room = tmp_path_factory.mktemp("painting")
    rows, columns = np.mgrid[0:96, 0:96]
    cv2.imwrite(
        str(room / "stripes.png"), np.where(((rows + columns) // 6 % 2)[..., None], (20, 40, 220), (60, 230, 240))
    )
    torch.manual_seed(0)
    torch.save(torchvision_state("squeezenet1_1"), room / "random.pth")
    return {"evaluate": room / "stripes.png", "loss_network": room / "random.pth"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip, style, against) -> Job:
    """A finished job with its evaluation, made by one worker."""
    job = create(open_share(tmp_path_factory.mktemp("whole")), clip, style, **against)
    assert work(job, threads=1)
    return job


def report_of(job: Job, suffix: str) -> Path:
    return evaluation_name(film_of(job), suffix)


def rows_of(job: Job) -> list[dict]:
    return json.loads(report_of(job, ".json").read_text())["frames"]


def command(job: Job, video: Path, out: Path, against: dict[str, Path], *words, frames: Path | None = None) -> str:
    """What the command says of a job's published frames, or of these, as a numbered sequence; its files are `out` with their
    endings."""
    frames = (frames or job.layout.results / "frame" / "0000") / "%07d.png"
    options = ["--style", against["evaluate"], "--loss-network", against["loss_network"], "--threads", 1, "--out", out]
    result = CliRunner().invoke(main, ["evaluate", *map(str, (video, frames, *options, *words))])
    assert result.exit_code == 0, result.output
    return result.output


def owners_of(job: Job, kind: str) -> list[int]:
    """Processes of the nodes that work on tasks of a kind."""
    owners = [read_identity(job.share, path) for name, path in claimed(job).items() if name.startswith(kind)]
    return [owner.pid for owner in owners if owner]  # None: done just now


def begun(job: Job, node, kinds: tuple[str, ...]):
    """A plan of which this node has done all tasks of these kinds."""
    plan = make_plan(job, node, threads=1)
    while (task := next((task for task in plan.candidates() if task.kind in kinds), None)) is not None:
        output = plan.run(task, lambda: None)
        publish = results.publish_bytes if isinstance(output, bytes) else results.publish
        plan.published(task, publish(node, job, task, output))
    return plan


def test_report_beside_the_film_is_what_the_command_says_of_the_published_frames(whole, clip, against, tmp_path):
    said = command(whole, clip, tmp_path / "found", against)
    assert report_of(whole, ".csv").read_bytes() == (tmp_path / "found.csv").read_bytes()
    mine, theirs = (json.loads(path.read_text()) for path in (report_of(whole, ".json"), tmp_path / "found.json"))
    assert mine.pop("film") == "clip--tiny.mkv" and mine.pop("video").endswith("video.mkv")
    assert mine == {name: theirs[name] for name in mine} and mine["cuts"] == [CUT] and len(mine["frames"]) == FRAMES
    summary, _, head, *table = report_of(whole, ".txt").read_text().splitlines()
    assert "\n".join(table) in said and head.startswith("clip--tiny.mkv: 104 frames of 98x62 in 2 shots")
    mean = mine["totals"]["film"]["warping_error"]["mean"]
    assert summary.startswith(f"warping error {mean:.3g} (") and "style loss" in summary
    assert cv2.imread(str(report_of(whole, ".png"))).shape == cv2.imread(str(tmp_path / "found.png")).shape


def test_film_is_the_same_as_without(whole, clip, style, share):
    plain = create(share, clip, style)
    assert work(plain, threads=1)
    assert film_of(plain).read_bytes() == film_of(whole).read_bytes()
    assert not any((share.layout.root).glob("*evaluation*")) and not (plain.layout.results / "measure").exists()


@pytest.mark.slow
def test_of_two_nodes_the_one_that_measures_is_killed_and_the_report_is_the_same(whole, clip, style, against, share):
    job = create(share, clip, style, **against)
    nodes = {node.pid: node for node in (start_node(share, "--job", job.name, "--cores", "1") for _ in range(2))}
    owners = []
    wait_for(lambda: owners.extend(owners_of(job, "measure")) or owners)
    killed = nodes.pop(owners[0])
    killed.kill()
    killed.communicate()
    (left,) = nodes.values()
    said = left.communicate(timeout=120)[0]
    assert left.returncode == 0, said
    assert report_of(job, ".csv").read_bytes() == report_of(whole, ".csv").read_bytes()
    assert film_of(job).read_bytes() == film_of(whole).read_bytes()
    assert evaluated(job) == evaluated(whole) and str(film_of(job)) in said
    assert claimed(job) == {} and list(share.layout.tmp.iterdir()) == []


def test_span_is_measured_alike_by_a_node_that_begins_there(whole, share):
    spans = range(-(-FRAMES // WINDOW_FRAMES))
    for span in spans:
        with temporary_member(whole.share) as node:
            plan = make_plan(whole, node, threads=1)
            plan.artifacts.load_new_segments()
            alone, there = (
                json.loads(plan.run(measure_task(span), lambda: None)),
                results.read(whole, measure_task(span)),
            )
        assert alone["rows"] == json.loads(there)["rows"] and alone["numeric-class"] == plan.stylizer.numeric_class
    assert len(spans) == 3


@pytest.mark.parametrize("options, words", [
    pytest.param({"reverse": True, "range": (42, 88)}, ["--range", "42:88"], marks=pytest.mark.slow),
    pytest.param({"no_temporal": True, "range": (64, 104)}, ["--range", "64:104"], marks=pytest.mark.slow),
    ({"style_scale": 2.0, "occlusion_erode": 1, "strength": 0.5, "frames": 20}, ["--range", "0:20"]),
    pytest.param({"width": 97, "no_cuts": True, "range": (60, 85)}, ["--range", "60:85", "--no-cuts"], marks=pytest.mark.slow),
])  # fmt: skip
def test_films_of_any_options_are_measured_as_by_the_command(clip, style, against, share, tmp_path, options, words):
    job = create(share, clip, style, **against, **options)
    assert work(job, threads=1)
    command(job, clip, tmp_path / "found", against, *words)
    assert report_of(job, ".csv").read_bytes() == (tmp_path / "found.csv").read_bytes()


@pytest.mark.slow
def test_of_a_film_in_chunks_is_measured_what_it_shows(clip, style, against, share, tmp_path):
    job = create(share, clip, style, chunk=20, no_cuts=True, range=(30, 95), **against)
    assert work(job, threads=1)
    (tmp_path / "shown").mkdir()
    for number, frame in enumerate(frames_of(job), 30):
        cv2.imwrite(str(tmp_path / "shown" / f"{number:07d}.png"), frame)
    command(job, clip, tmp_path / "found", against, "--range", "30:95", "--no-cuts", frames=tmp_path / "shown")
    assert report_of(job, ".csv").read_bytes() == (tmp_path / "found.csv").read_bytes()
    assert any((job.layout.results / "warmup").rglob("*.png"))


def test_row_hangs_on_what_was_on_the_screen_a_second_earlier():
    base = Fraction(1001, 24000)  # a second is 23.98 of it
    pts = np.cumsum([0, 1, 1, 20, 1, 1, 30, 3, 1, 1, 1, 40, 2, 24])
    index = FrameIndex(pts, np.ones(len(pts), int), pts == 0, pts, base)
    for begins in (0, 5):
        for frame in range(begins, len(pts)):
            earlier = [number for number in range(begins, frame) if pts[number] * base <= pts[frame] * base - LONG_S]
            assert first_needed_frame(frame, begins, index) == max(earlier, default=begins)


def test_idle_node_measures_what_another_has_painted_and_frames_come_first(clip, style, against, share):
    job = create(share, clip, style, no_cuts=True, **against)
    with temporary_member(share) as painter, temporary_member(share) as helper:
        plan = make_plan(job, helper, threads=1)
        named = lambda: [str(task) for task in plan.candidates()]
        begun(job, painter, ("index",))
        assert named() == ["frame.0000000"]
        painting = make_plan(job, painter, threads=1)
        for frame in range(WINDOW_FRAMES + 2):
            assert Claims(painter, job).claim(frame_task(frame)).name == "WON"
            assert named() == (["measure.0000000"] if frame >= WINDOW_FRAMES else [])
            next(painting.candidates(), None)
            results.publish_bytes(painter, job, frame_task(frame), painting.run(frame_task(frame), lambda: None))
            painting.published(frame_task(frame), ours=True)
            Claims(painter, job).release(frame_task(frame))
        assert next(plan.candidates()).kind == "frame"  # the painter has gone
        Claims(painter, job).claim(measure_task(0))
        assert "measure.0000000" not in named()


def test_film_is_shown_before_it_is_measured(whole, clip, style, against, share, caplog):
    job = create(share, clip, style, frames=14, **against)
    with temporary_member(share) as node:
        plan = begun(job, node, ("index", "frame", "encode", "stitch"))
        assert not film_of(job).exists() and plan.finalize() is None and plan.finalize() is None
    assert films.probe(film_of(job), "stream=nb_read_frames") == "14" and "finished" not in job.flags()
    assert caplog.messages == ["clip--tiny-14f: the film is done: clip--tiny-14f.mkv; its evaluation continues"]
    assert work(job, threads=1) and rows_of(job) == rows_of(whole)[:14]


def test_evaluation_that_fails_leaves_the_film_whole_and_status_tells_why(whole, clip, style, against, share, caplog):
    job, report = create(share, clip, style, **against), RecordingEvents()
    (job.layout.inputs / "loss_network.pth").write_bytes(b"no network at all")
    assert work(job, report, threads=1)
    assert film_of(job).read_bytes() == film_of(whole).read_bytes() and "finished" in job.flags()
    assert attempts.failed(job) == ["measure.0000000"] and not any(
        report_of(job, suffix).exists() for suffix in REPORTS
    )
    assert any("the evaluation is incomplete" in line for line in caplog.messages)
    told = CliRunner().invoke(coordinator.main, ["status", str(share.layout.root)]).output
    assert "clip--tiny: finished" in told and "measured warping" not in told
    assert "measure.0000000 failed after 3 attempts" in told and "loss_network.pth" in told


def test_damaged_rows_are_set_aside_and_measured_again(clip, style, against, share):
    job = create(share, clip, style, range=(44, 55), **against)
    with temporary_member(share) as node:
        begun(job, node, ("index", "frame", "measure"))
    stop_or_none, exchanged = (job.layout.result(measure_task(span)) for span in (0, 1))
    rows = [json.loads(path.read_bytes())["rows"] for path in (stop_or_none, exchanged)]
    exchanged.write_bytes(stop_or_none.read_bytes())
    stop_or_none.write_bytes(stop_or_none.read_bytes()[:-100])
    assert work(job, threads=1)
    assert rows_of(job) == sum(rows, []) and len(rows_of(job)) == 11
    for span in (0, 1):
        assert [attempt.why for attempt in attempts.attempts_of_task(job, measure_task(span))] == ["damaged"]


@pytest.mark.parametrize(
    "change", [{"frame": "1"}, {"shot": []}, {"film": {}}, {"film": None}, {"source": 7}, {"more": 1}]
)
def test_row_that_is_none_is_refused(whole, change):
    row = rows_of(whole)[9]
    assert FrameMetrics.from_json(row).film.local_contrast == row["film"]["local_contrast"]
    with pytest.raises(DECODE_ERRORS):
        FrameMetrics.from_json({**row, **change})
    with pytest.raises(DECODE_ERRORS):
        FrameMetrics.from_json({**row, "source": {**row["source"], "red": "1"}})


def test_status_shows_spans_and_what_came_of_them(whole):
    told = CliRunner().invoke(coordinator.main, ["status", str(whole.share.layout.root)]).output
    assert "measure  3 of 3" in told and f"measured {evaluated(whole)}" in told
    told = CliRunner().invoke(coordinator.main, ["status", "--json", str(whole.share.layout.root)]).output
    (state,) = json.loads(told)["jobs"]
    assert state["evaluation"] == evaluated(whole) and state["counts"]["measure"] == [3, 3]


def test_painting_and_network_travel_with_the_job_and_are_compared(clip, style, against, share, tmp_path):
    create(share, clip, style, name="job", **against)
    (job,) = all_jobs(share)
    spec = JobSpec.from_json(job.manifest.spec)
    for name, path in against.items():
        assert (share.layout.root / getattr(spec, name)).read_bytes() == path.read_bytes()
    submit = ["submit", str(share.layout.root), str(clip), str(style), "--name", "job"]
    call = lambda *words: CliRunner().invoke(coordinator.main, [*submit, *map(str, words)])
    network = ("--loss-network", against["loss_network"])
    assert call().exit_code == call("--evaluate", against["evaluate"], *network).exit_code == 0
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((80, 80, 3), np.uint8))
    refused(call("--evaluate", tmp_path / "other.png", *network), "--evaluate has another content")


def test_what_cannot_be_measured_with_is_refused_before_there_is_a_job(clip, style, against, share, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    submit = ["submit", str(share.layout.root), str(clip), str(style)]
    call = lambda *words: CliRunner().invoke(coordinator.main, [*submit, *map(str, words)])
    network = ("--loss-network", against["loss_network"])
    refused(call("--evaluate", tmp_path / "text.png", *network), "text.png")
    refused(call("--evaluate", against["evaluate"], "--loss-network", tmp_path / "none.pth"), "none.pth")
    refused(call("--evaluate", against["evaluate"], "--loss-network", tmp_path / "text.png"), "text.png")
    refused(call(*network), "--loss-network", "--evaluate")
    (share.layout.root / "clip--tiny.evaluation.json").write_text("precious")
    out = ("--out", "clip--tiny.mkv")
    refused(call("--evaluate", against["evaluate"], *network, *out), "clip--tiny.evaluation.json", "exists", "--out")
    assert all_jobs(share) == []


def test_without_a_network_at_hand_there_is_no_style_loss(clip, style, against, share, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "URL", "http://127.0.0.1:9/")
    submit = ["submit", *map(str, (share.layout.root, clip, style, "--frames", 14, "--evaluate", against["evaluate"]))]
    told = CliRunner().invoke(coordinator.main, submit)
    assert (
        told.exit_code == 0 and "without style and content loss: loss network squeezenet1_1: cannot be" in told.output
    )
    named = CliRunner().invoke(coordinator.main, [*submit, "--loss-network", "squeezenet1_1"])
    assert named.exit_code == 2 and "cannot be downloaded" in named.output.strip().splitlines()[-1], named.output
    (job,) = all_jobs(share)
    assert work(job, threads=1)
    assert {row["film"]["style_loss"] for row in rows_of(job)} == {None}
    assert "style loss" not in report_of(job, ".txt").read_text() and "1 s error" in evaluated(job)
