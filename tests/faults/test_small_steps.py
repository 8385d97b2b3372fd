"""Commands without a cluster, typed carelessly: what is refused before any work, and what is said to be left out."""

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

import coordinator
from fav.cli.tools import main
from fav.errors import FavError
from fav.stylize.images import plan_outputs
from fav.util.atomic import check_new
from shared.jobs import find_job
from tests.helpers.commands import call, refused


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((16, 16, 3), 90, np.uint8))
    return folder


def test_folder_is_not_made_where_there_is_none_for_it(pictures, style, tmp_path):
    refused(call(main, "stylize", pictures, style, tmp_path / "none" / "out"), "there is no", "none")
    assert not (tmp_path / "none").exists()


def test_folder_is_not_made_where_nodes_write_and_remove(pictures, style, job):
    place = job.share.layout.jobs / "mine"
    refused(call(main, "stylize", pictures, style, place), "where nodes write and remove files")
    assert not place.exists()


def test_what_a_folder_has_beside_pictures_is_told(pictures, style, tmp_path):
    for name in ("IMG_1.HEIC", "moving.gif", "notes.txt", ".hidden"):
        (pictures / name).write_bytes(b"x")
    (pictures / "more").mkdir()
    done = call(main, "stylize", pictures, style, tmp_path / "out", "--threads", 1)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("left out")]
    assert "4 of" in line and "IMG_1.HEIC, more/, moving.gif, notes.txt" in line and "hidden" not in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_pictures_that_get_one_name_are_both_named(pictures, tmp_path):
    (pictures / "a.bmp").write_bytes(b"x")
    with pytest.raises(FavError, match=r"a\.bmp and a\.png, which both become a\.png; rename one"):
        plan_outputs(pictures, tmp_path / "out")


@pytest.mark.parametrize(
    "words", [["try", "CLIP", "STYLE", "--at", "0.1,99"], ["mask", "CLIP", "MASK", "new", "--at", "0"]]
)
def test_moment_after_the_end_is_refused_by_the_option_that_named_it(clip, style, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[:8] = 255
    cv2.imwrite("mask.png", mask)
    known = {"CLIP": clip, "STYLE": style, "MASK": "mask.png"}
    option = [] if words[0] == "try" else ["--also", "99:mask.png"]
    answer = call(main, *[known.get(word, word) for word in words], *option)
    refused(answer, f"{(option or ['--at'])[0]}: expected at most", "got 99 s")
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


@pytest.mark.parametrize(
    "words", ["cuts CLIP OUT", "flow PICTURE PICTURE OUT", "convert STYLE OUT", "styles --sheet OUT"]
)
def test_result_of_another_kind_than_its_name_is_refused(clip, style, pictures, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    known = {"CLIP": clip, "STYLE": style, "PICTURE": pictures / "a.png", "OUT": "film.mp4"}
    answer = call(main, *[known.get(word, word) for word in words.split()])
    refused(answer, "film.mp4: expected a name that ends in .", "got .mp4")


def test_page_of_a_report_is_no_film(job):
    refused(
        call(coordinator.main, "report", job.share.layout.root, job.name, "--out", "film.mp4"), "ends in .html", ".mp4"
    )


def test_negative_priority_is_typed_as_it_is(job):
    done = call(coordinator.main, "prioritize", job.share.layout.root, job.name, "-15")
    assert done.exit_code == 0 and "priority -15" in done.output
    assert find_job(job.share, job.name).flag_text("priority") == "-15"
    refused_option = call(coordinator.main, "prioritize", job.share.layout.root, job.name, "--fast")
    assert refused_option.exit_code == 2 and "--fast" in refused_option.output


def test_directory_that_this_user_may_not_write_to_is_refused_before_any_work(tmp_path, monkeypatch):
    shut = tmp_path / "shut"
    shut.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            check_new(Path("shut/out.mp4"))
        except FavError as error:
            code = 0 if "a directory that this user may write to, got shut" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
