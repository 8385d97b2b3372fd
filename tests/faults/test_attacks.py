"""Links and files in the place of directories, put there while somebody works or after a job is finished."""

import errno
import os
import re
import shutil

import click
import pytest
from click.testing import CliRunner

import coordinator
from fav.cli.common import one_line_errors
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import stitch_task
from shared.errors import JobQueueError
from shared.identity import Identity
from shared.jobs import Job
from shared.membership import Node
from shared.shared_dir import open_share
from tests.helpers.job_system import join
from tests.helpers.video_jobs import create, film_of, work


@pytest.fixture(scope="module")
def made(tmp_path_factory, clip, style) -> Job:
    job = create(open_share(tmp_path_factory.mktemp("made")), clip, style, name="film", frames=2)
    assert work(job)
    return job


@pytest.fixture
def finished(made, tmp_path) -> Job:
    root = tmp_path / "copy"
    shutil.copytree(made.share.layout.root, root, symlinks=True)
    return Job(open_share(root), made.manifest)


def command(*words):
    return CliRunner().invoke(coordinator.main, [str(word) for word in words])


@pytest.mark.parametrize("room", ["tmp", "nodes"])
def test_node_that_joins_again_makes_nothing_through_a_link(share, tmp_path, room):
    mine, place = tmp_path / "mine", share.layout.root / room
    mine.mkdir()
    node = join(share)
    place.rename(tmp_path / "moved")
    place.symlink_to(mine)
    with pytest.raises(JobQueueError):
        node.renew()
        node.check()
    with pytest.raises(JobQueueError, match=f"{room}: expected a directory, got a symbolic link; move it away"):
        Node(share, Identity.here()).join()
    assert list(mine.iterdir()) == []


@pytest.mark.parametrize("below", ["stitch", "stitch/0000"])
@pytest.mark.parametrize("by", ["link", "file"])
def test_report_and_retry_bear_with_what_has_the_place_of_results(finished, tmp_path, below, by):
    place = finished.layout.results / below
    shutil.rmtree(place)
    place.symlink_to(tmp_path) if by == "link" else place.write_text("mine")
    root = finished.share.layout.root
    report = command("report", root)
    assert report.exit_code == 0, report.output
    retry = command("retry", root)
    assert retry.exit_code == 2 and f"{place}: expected a directory, got " in retry.output
    assert finished.layout.flag("finished").exists(), "nodes cannot make it"
    place.unlink()
    retry = command("retry", root)
    assert retry.exit_code == 0 and "the film to be made again" in retry.output
    film = film_of(finished).read_bytes()
    assert work(finished) and finished.layout.result(stitch_task(JobArtifacts(finished).spec)).read_bytes() == film


@pytest.mark.parametrize("words", [["report"], ["stitch"], ["retry"], ["clean"]])
def test_job_whose_directory_is_a_link_is_refused_by_its_name(finished, tmp_path, words):
    finished.layout.root.rename(tmp_path / "moved")
    finished.layout.root.symlink_to(tmp_path / "moved")
    result = command(*words, finished.share.layout.root)
    assert (
        result.exit_code == 2 and f"{finished.layout.root}: expected a directory, got a symbolic link" in result.output
    )
    assert "clean removes" not in result.output, "that would be refused, too"


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 50, b'{"a": 1}'])
def test_advice_about_a_damaged_marker_works(finished, damage, monkeypatch):
    monkeypatch.setattr("shared.marker.PAUSE_S", 0.0)
    marker, root = finished.share.layout.marker, finished.share.layout.root
    marker.write_bytes(damage)
    result = command("status", root)
    assert result.exit_code == 2 and re.search(
        "where there are jobs, move this file away: it is made again", result.output
    )
    marker.rename(root / "away")
    assert command("retry", root).exit_code == 0
    assert marker.read_bytes().startswith(b'{"fav_share": 2') and (root / "away").read_bytes() == damage


def test_file_in_the_place_of_a_directory_ends_any_command_with_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")

    @click.command()
    @one_line_errors
    def main():
        os.listdir(tmp_path / "file")

    result = CliRunner().invoke(main)
    assert result.exit_code == 2 and result.output.startswith(
        f"error: {tmp_path / 'file'}: {os.strerror(errno.ENOTDIR)}: "
    )


@pytest.mark.parametrize(
    "name", ["results/frame/0000/0000001.jpg", "results/stitch/0000/0000000.gif", "results/index/0000/0000000.csv"]
)
def test_clean_leaves_what_somebody_made_of_the_results_beside_them(finished, name):
    mine = finished.layout.root / name
    mine.write_text("mine")
    result = command("clean", finished.share.layout.root)
    assert (
        result.exit_code == 0
        and f"kept, because this program did not make it: {mine.relative_to(finished.share.layout.root)}"
        in result.output
    )
    left = [path for path in finished.layout.root.rglob("*") if not path.is_dir()]
    assert left == [mine] and mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "style.backup/style.safetensors", "videos/video.mp4"])
def test_clean_of_an_old_job_leaves_what_is_no_input_of_it(finished, name):
    finished.layout.input_list.unlink()
    mine = finished.layout.inputs / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    result = command("clean", finished.share.layout.root)
    assert result.exit_code == 0 and "kept, because" in result.output
    left = [path for path in finished.layout.root.rglob("*") if not path.is_dir()]
    assert left == [mine] and mine.read_text() == "mine"


def test_clean_of_an_old_job_removes_all_of_its_inputs(finished):
    finished.layout.input_list.unlink()
    for name in ("video", "flow_weights", "mask"):
        (finished.layout.inputs / name).mkdir()
        (finished.layout.inputs / name / "f_0001.any.png").write_text("copied")
    for name in ("mix-1.pth", "mix-12.safetensors", "evaluate.png", "seed", "first_frame_style.t7"):
        (finished.layout.inputs / name).write_text("copied")
    assert command("clean", finished.share.layout.root).exit_code == 0
    assert not finished.layout.root.exists()


@pytest.mark.parametrize("by", ["link", "dangling link", "file"])
def test_film_cannot_be_wanted_below_what_is_no_directory(finished, clip, style, tmp_path, by):
    root = finished.share.layout.root
    place, mine = root / "films", tmp_path / "mine"
    mine.mkdir()
    place.write_text("mine") if by == "file" else place.symlink_to(mine if by == "link" else "/nowhere/at/all")
    for words in (["submit", root, clip, style, "--name", "other", "--frames", 2], ["stitch", root]):
        for out in ("films/x.mp4", "films/deeper/x.mp4"):
            result = command(*words, "--out", out)
            assert result.exit_code == 2 and f"{place}: expected a directory, got " in result.output, result.output
    assert [path.name for path in finished.share.layout.by_name.iterdir()] == ["film"] and list(mine.iterdir()) == []


def test_clean_keeps_the_film_that_lies_in_the_job_alone(finished):
    root, result = finished.share.layout.root, finished.layout.result(stitch_task(JobArtifacts(finished).spec))
    film_of(finished).unlink()
    finished.layout.flag("finished").write_text(result.relative_to(root).as_posix())
    refused = command("clean", root)
    assert refused.exit_code == 2 and str(result) in refused.output and result.exists()
    assert command("stitch", root, "--out", "saved.mp4").exit_code == 0 and (root / "saved.mp4").exists()
    assert command("clean", root, "--force").exit_code == 0
    assert not finished.layout.root.exists() and (root / "saved.mp4").exists()
