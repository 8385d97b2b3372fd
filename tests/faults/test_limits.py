"""What the command line accepts nodes can serve: no option makes a job that each node has to refuse in turn."""

import dataclasses
import json
import math
import os
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import coordinator
from fav.cli.options import JOB, options, request_of
from fav.errors import FavError
from fav.pipeline.option import LAST_FRAME
from fav.pipeline.request import Request
from fav.pipeline.resolve_options import with_chunk_length
from fav.pipeline.spec import MAX_PIXELS, MAX_SIDE, OPTIONS, JobSpec
from fav.pipeline.spec_fields import spec_fields
from fav.stylize.settings import network_size
from fav.video import VideoInfo, probe
from shared.jobs import Manifest, all_jobs
from shared.settings import MIN_LEASE_S
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import create, work


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture(scope="module")
def source(clip) -> VideoInfo:
    return probe(clip)


def typed(clip: Path, style: Path, words: list[str]) -> Request:
    """The request that a command line makes; UsageError or FavError where it is refused."""
    found = []

    @click.command()
    @options(JOB)
    @click.pass_context
    def command(context, **values):
        found.append(request_of(context, str(clip), style, values))

    command.main(words, standalone_mode=False)
    found[0].check()
    return found[0]


def served(request: Request, source: VideoInfo) -> JobSpec:
    """What a node reads of the job that this request makes; FavError where it refuses it."""
    request, _ = with_chunk_length(request, source)
    spec = JobSpec(video="v.mp4", style="s.pth", **{**spec_fields(request, source), "out": request.out or "x.mp4"})
    manifest = Manifest("x.0123456789ab", "x", spec.to_json(), request.lease)
    return JobSpec.from_json(Manifest.from_bytes(manifest.to_bytes(), Path("job.json")).spec)


WHOLE = (
    st.integers(-5, 70)
    | st.integers()
    | st.sampled_from([16383, 16384, 16385, 65535, 65536, 65537, 70000, 10**6, 10**12, 10**13])
)
ANY = st.floats() | st.floats(0, 10) | WHOLE
WORDS = {
    "width": WHOLE, "scale": ANY, "frames": WHOLE, "fps": ANY, "occlusion-erode": WHOLE, "chunk": WHOLE | st.sampled_from(["auto", "off", "9" * 5000]),
    "style-scale": ANY, "strength": ANY, "crf": WHOLE, "lease": ANY, "threads": WHOLE,
    "range": st.tuples(st.just("") | WHOLE, st.just("") | WHOLE).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    "out": st.text(max_size=8).map(lambda text: text + ".mp4") | st.sampled_from(["a" * 300 + ".mp4", "a/" * 600 + "a.mp4", "é" * 100 + ".mp4"]),
    "mix": ANY.map(lambda weight: f"other.pth:{weight}"),
}  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
@given(given=st.fixed_dictionaries({}, optional=WORDS), width=st.integers(1, 40_000), height=st.integers(1, 40_000))
@example(given={"threads": 5000}, width=160, height=34)
@example(given={"occlusion-erode": 65537}, width=160, height=34)
@example(given={"width": 70000}, width=160, height=34)
@example(given={"range": "0:99999999999999"}, width=160, height=34)
@example(given={"lease": "nan"}, width=160, height=34)
@example(given={"scale": "nan"}, width=160, height=34)
@example(given={"fps": 1e-9}, width=160, height=34)
@example(given={"style-scale": 0.25}, width=16384, height=64)
@example(given={"width": 640}, width=16, height=9000)
@example(given={"out": "film\x1b[31m.mp4"}, width=160, height=34)
def test_what_is_accepted_can_be_served(clip, style, source, given, width, height):
    source = dataclasses.replace(source, width=width, height=height)
    words = [f"--{name}={value}" for name, value in given.items() if name != "mix"]
    try:
        request, _ = with_chunk_length(typed(clip, style, words), source)
        spec_fields(request, source)
    except (click.ClickException, FavError):
        return
    spec = served(request, source)
    for size in ((spec.width, spec.height), spec.network_size):
        assert max(size) <= MAX_SIDE and size[0] * size[1] <= MAX_PIXELS
    assert spec.occlusion_erode % 2 and (spec.threads or 1) <= 1024 and math.isfinite(request.lease)


@pytest.mark.parametrize(
    "option", ["crf", "occlusion_erode", "threads", "fps", "strength", "style_scale", "chunk", "width"]
)
def test_both_limits_of_an_option_are_those_of_nodes(clip, style, source, option):
    least, most = OPTIONS[option].least, OPTIONS[option].most
    small = dataclasses.replace(source, width=4096, height=1)
    for value in (least, most):
        assert getattr(served(typed(clip, style, [f"--{option.replace('_', '-')}={value}"]), small), option) == value
    for value in (least - 1, most + 1):
        with pytest.raises(click.ClickException):
            typed(clip, style, [f"--{option.replace('_', '-')}={value}"])
        with pytest.raises(
            FavError,
            match=f"{OPTIONS[option].flag}: expected (a|an odd)( whole)? number from {least} to {most}(, or a curve such as 0:0,5:1)?, got",
        ):
            Request(str(clip), style, **{option: value}).check()


@pytest.mark.parametrize("option", ["scale", "fps", "strength", "style_scale", "lease"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_no_option_takes_what_is_no_number(clip, style, option, value):
    with pytest.raises((click.ClickException, FavError)):
        typed(clip, style, [f"--{option.replace('_', '-')}={value}"])
    with pytest.raises(FavError, match=f"--{option.replace('_', '-')}: expected a number"):
        Request(str(clip), style, **{option: float(value)}).check()


def told(share, clip, style, *words) -> str:
    """What `submit` says that refuses."""
    made = CliRunner().invoke(coordinator.main, ["submit", str(share.layout.root), str(clip), str(style), *words])
    assert made.exit_code == 2 and not made.exc_info[0] in (TypeError, ValueError, OverflowError), made.output
    assert all_jobs(share) == [] and os.listdir(share.layout.jobs) == []
    return made.output.splitlines()[-1]


@pytest.mark.parametrize("words, complaint", [
    (["--threads", "5000"], "expected a whole number from 1 to 1024, got '5000'"), (["--occlusion-erode", "65537"], "from 1 to 999, got '65537'"), (["--occlusion-erode", "8"], "--occlusion-erode: expected an odd whole number from 1 to 999, got 8"),
    (["--width", "70000"], "from 16 to 16384, got"), (["--width", "8192", "--style-scale", "0.25"], "network input: expected 1 to 16384"),
    (["--range", "0:99999999999999"], "expected frames up to 999999999999"), (["--range", "9999999999999:"], "expected frames up to"),
    (["--frames", "1000000000000000"], "from 1 to 999999999999, got"), (["--scale", "nan"], "expected a number"), (["--chunk", "9" * 5000], "from 8 on, at most 999999"),
    (["--fps", "1e9"], "from 0.001 to 1000, got '1e9'"), (["--lease", "nan"], "expected a number"), (["--range", "24:"], "below the number of frames"),
    (["--name", "a" * 152], "--name: expected letters"), (["--name", "-x\x1b[31m"], "--name: expected letters"), (["--name", "a/b"], "--name"),
    (["--out", "a" * 200 + ".mp4"], "at most 150 bytes"), (["--out", "film\x1b[31m.mp4"], "visible characters"), (["--out", ""], "inside SHARED"),
    (["--out", "film\u202e4pm.mp4"], "visible characters"), (["--out", "jobs/film.mp4"], "outside of jobs/"), (["--out", "Tmp/x.mp4"], "outside of"),
    (["--mix", "STYLE:nan"], "--mix"), (["--mix", "STYLE:1e400"], "--mix"), (["--threads", "9" * 5000], "--threads"),
])  # fmt: skip
def test_what_no_node_can_serve_is_refused_in_one_line_and_makes_no_job(share, clip, style, words, complaint):
    words = [word.replace("STYLE", str(style)) for word in words]
    assert complaint in told(share, clip, style, *words)


def test_range_behind_the_end_of_a_video_that_does_not_count_its_frames_is_refused(share, clip, style, tmp_path):
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-c", "copy", str(tmp_path / "clip.mkv")], check=True)
    assert probe(tmp_path / "clip.mkv").frames is None
    assert "a START below the number of frames" in told(share, tmp_path / "clip.mkv", style, "--range", "24:")
    create(share, tmp_path / "clip.mkv", style, range=(23, None))


def test_stitch_takes_what_is_no_number_for_none(share, clip, style):
    create(share, clip, style, name="x")
    made = CliRunner().invoke(coordinator.main, ["stitch", str(share.layout.root), "--strength", "nan"])
    assert made.exit_code == 2 and "'--strength': expected a number" in made.output


def test_stitch_takes_no_name_among_what_nodes_remove(share, clip, style):
    create(share, clip, style, name="x")
    made = CliRunner().invoke(coordinator.main, ["stitch", str(share.layout.root), "--out", "tmp/film.mp4"])
    assert made.exit_code == 2 and "expected a name outside of tmp/" in made.output


def test_film_of_the_longest_name_has_all_of_its_files(share, clip, style):
    name = "a" * 146 + ".mp4"
    job = create(share, clip, style, frames=2, out=name)
    assert work(job) and job.flag_text("finished") == name
    for command in "report", "preview":
        made = CliRunner().invoke(coordinator.main, [command, str(share.layout.root)])
        assert made.exit_code == 0, made.output


@pytest.mark.parametrize(
    "change",
    [
        {"cuts": [-1]},
        {"cuts": [10**13]},
        {"occlusion_erode": 8},
        {"height": 70000},
        {"style_scale": 0.25, "width": 16384},
        {"threads": 5000},
        {"fps": 1e-9},
        {"start": LAST_FRAME + 1},
        {"out": "a\x1b.mp4"},
    ],
)
def test_manifest_that_no_node_can_serve_is_refused_as_one(clip, style, source, change):
    record = served(Request(str(clip), style), source).to_json()
    with pytest.raises(FavError, match="expected"):
        JobSpec.from_json({**record, **change})
    assert JobSpec.from_json(json.loads(json.dumps(record))).network_size == network_size((96, 64), 1)
    assert MIN_LEASE_S == OPTIONS["lease"].least
