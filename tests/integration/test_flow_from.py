"""A film from exported flow is the film made with the method itself, in a job and on this machine alone."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fav import flow as flows
from fav.cli.tools import main
from fav.errors import FavError
from fav.flow.files import read_flow
from fav.flow.io import write_flo
from fav.pipeline.spec import JobSpec
from fav.stylize.flow_export import export_flow
from shared.shared_dir import open_share
from tests.helpers.video_jobs import CUT, FRAMES, create, film_of, frames_of, same, work


def contents(film: Path) -> bytes:
    """Hashes of all packets of a film, without its comment, which has the options that made it."""
    words = ["ffmpeg", "-v", "error", "-i", str(film), "-map", "0", "-c", "copy", "-f", "streamhash", "-"]
    return subprocess.run(words, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory, clip) -> Path:
    out = tmp_path_factory.mktemp("flow")
    assert export_flow(clip, out, flows.make("dis")) == FRAMES
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style):
    job = create(open_share(tmp_path_factory.mktemp("plain")), clip, style)
    assert work(job)
    return job


def test_the_command_writes_flow_of_a_clip(clip, exported, tmp_path):
    run = CliRunner().invoke(main, ["flow", str(clip), str(tmp_path / "out"), "--range", "3:6", "--method", "dis"])
    assert run.exit_code == 0, run.output
    names = [
        "bwd_000004.flo",
        "bwd_000005.flo",
        "fwd_000003.flo",
        "fwd_000004.flo",
        "reliable_000004.pgm",
        "reliable_000005.pgm",
    ]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names
    assert all((tmp_path / "out" / name).read_bytes() == (exported / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    "given",
    [
        {"flow_from": "bwd_%06d.flo", "flow_forward_from": "fwd_%06d.flo"},
        {"flow_from": "bwd_%06d.flo", "reliability_from": "reliable_%06d.pgm"},
    ],
)
def test_a_film_from_exported_flow_is_the_film_of_the_method(clip, style, exported, plain, tmp_path, given):
    job = create(open_share(tmp_path), clip, style, **{name: exported / pattern for name, pattern in given.items()})
    spec = JobSpec.from_json(job.manifest.spec)
    assert spec.flow_from.startswith("jobs/") and spec.flow_from_hash
    assert work(job)
    assert same(frames_of(job), frames_of(plain)) and contents(film_of(job)) == contents(film_of(plain))


def test_flow_in_the_shared_directory_stays_where_it_is(clip, style, exported, tmp_path):
    share = open_share(tmp_path)
    shutil.copytree(exported, tmp_path / "my flow")
    job = create(share, clip, style, flow_from=tmp_path / "my flow" / "bwd_%06d.flo", frames=3)
    assert JobSpec.from_json(job.manifest.spec).flow_from == "my flow/bwd_%06d.flo"
    assert work(job)


def test_the_same_line_joins_and_other_flow_does_not(clip, style, exported, tmp_path):
    (tmp_path / "share").mkdir()
    share = open_share(tmp_path / "share")
    given = {"flow_from": exported / "bwd_%06d.flo", "frames": 3}
    job = create(share, clip, style, **given)
    assert create(share, clip, style, **given).layout.root == job.layout.root
    other = tmp_path / "other"
    shutil.copytree(exported, other)
    write_flo(other / "bwd_000001.flo", read_flow(other / "bwd_000001.flo")[0] + np.float32(0.25))
    with pytest.raises(FavError, match="--flow-from has another content"):
        create(share, clip, style, **given | {"flow_from": other / "bwd_%06d.flo"}, name=job.name)


def test_stylize_takes_flow_from_files_too(clip, style, exported, tmp_path):
    runs = {
        "method": ["--flow", "dis"],
        "files": [
            "--flow-from",
            str(exported / "bwd_%06d.flo"),
            "--reliability-from",
            str(exported / "reliable_%06d.pgm"),
        ],
    }
    for name, words in runs.items():
        run = CliRunner().invoke(
            main, ["stylize", str(clip), str(style), str(tmp_path / f"{name}.mp4"), "--frames", "6", *words]
        )
        assert run.exit_code == 0, run.output
    assert contents(tmp_path / "method.mp4") == contents(tmp_path / "files.mp4")


def test_a_film_from_its_end_takes_the_forward_files(clip, style, exported, tmp_path):
    patterns = {"flow_from": exported / "bwd_%06d.flo", "flow_forward_from": exported / "fwd_%06d.flo"}
    pictures = []
    for name, given in (("plain", {}), ("files", patterns)):
        (tmp_path / name).mkdir()
        job = create(open_share(tmp_path / name), clip, style, reverse=True, frames=8, **given)
        assert work(job)
        pictures.append(frames_of(job))
    assert same(*pictures)


@pytest.mark.parametrize(
    "options, complaint",
    [
        (
            {"flow_from": "fwd_%06d.flo", "frames": 12},
            "--flow-from .* expected a file for each of 11|as --flow-forward-from",
        ),
        ({"flow_from": "none_%06d.flo"}, "got none of that name"),
        ({"flow_forward_from": "bwd_%06d.flo", "frames": 12, "flow_first": 0}, "--flow-forward-from"),
        ({"reliability_from": "reliable_%06d.pgm"}, "--reliability-from: expected with --flow-from"),
        ({"flow_from": "bwd_%06d.flo", "invert_reliability": True}, "--invert-reliability: expected with"),
        ({"flow_y_up": True}, "expected with --flow-from"),
        (
            {"flow_from": "bwd_%06d.flo", "reliability_from": "reliable_%06d.pgm", "reverse": True},
            "without --reverse",
        ),
        ({"flow_from": "bwd_%06d.flo", "flow_first": 7}, "--flow-from .* are missing"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_job_is_made(clip, style, exported, tmp_path, options, complaint):
    given = {name: exported / value if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(FavError, match=complaint) as error:
        create(open_share(tmp_path), clip, style, **given)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "by-name").exists() or not list((tmp_path / "by-name").iterdir())


def test_an_unknown_method_in_a_record_is_one_line(clip, style, tmp_path):
    record = create(open_share(tmp_path), clip, style).manifest.spec
    with pytest.raises(FavError, match="job: expected flow to be .*, got 'raft-huge'; update this machine"):
        JobSpec.from_json({**record, "flow": "raft-huge"})


def test_flow_with_gaps_at_cuts_is_brought_whole(clip, style, exported, tmp_path):
    """As it is exported shot by shot. What lies behind a gap is part of the job's input, too."""
    mine = tmp_path / "mine"
    shutil.copytree(exported, mine)
    (mine / f"bwd_{CUT:06d}.flo").unlink()
    (tmp_path / "cuts.csv").write_text(f"{CUT}\n")
    (tmp_path / "share").mkdir()
    share = open_share(tmp_path / "share")
    given = {"flow_from": mine / "bwd_%06d.flo", "read_cuts": tmp_path / "cuts.csv"}
    job = create(share, clip, style, **given)
    assert len(list((job.layout.inputs / "flow_from").iterdir())) == FRAMES - 2
    assert work(job)
    write_flo(mine / f"bwd_{FRAMES - 1:06d}.flo", np.zeros((64, 96, 2), np.float32))
    with pytest.raises(FavError, match="--flow-from has another content"):
        create(share, clip, style, **given, name=job.name)
