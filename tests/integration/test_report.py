"""The page about a job, in a real browser: what it shows is what was published, and its slider moves."""

import re
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import frame_task
from fav.report.data import collect
from fav.report.html import shown_frames
from fav.video import FrameReader
from shared import results
from shared.attempts import record
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers.browser import chromium
from tests.helpers.video_jobs import CUT, FRAMES, create, work


@pytest.fixture(scope="module")
def report(tmp_path_factory, clip, style):
    """A finished job in which one attempt failed, and its page."""
    opened = open_share(tmp_path_factory.mktemp("share"))
    job = create(opened, clip, style)
    with temporary_member(opened) as node:
        record(node, job, frame_task(3), "raised", "ValueError: <b>three</b>", "0" * 16)
    assert work(job) and work(job)
    made = CliRunner().invoke(coordinator.main, ["report", str(opened.layout.root)])
    assert made.exit_code == 0, made.output
    return job, opened.layout.root / re.search(r"done: (.*)", made.output)[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium"), "--headless", "--window-size=1000,1400") as driver:
        yield driver


def test_facts_are_what_was_published(report):
    job, _ = report
    facts = collect(job)
    assert facts.state == "finished"
    assert sorted(one.number for one in facts.of("frame")) == list(range(FRAMES)) and facts.of("flow") == []
    assert facts.cuts == [CUT] and facts.stitched is not None and facts.created <= facts.indexed <= facts.stitched
    assert all(0 < one.took < 60 and facts.created < one.published for one in facts.done)
    assert len({one.node for one in facts.done}) == 1 and facts.attempts == {"ValueError: <b>three</b>": 1}
    shown = shown_frames(facts, worst=[7])
    assert 7 in shown and {0, FRAMES - 1} <= {*shown} and len(shown) in (4, 5)


def test_the_page_needs_no_other_file_and_takes_no_words_for_tags(report):
    text = report[1].read_text()
    assert not re.search(r"""(src|href)=["']?(?!data:|#)\w""", text)
    assert "<b>three" not in text and "&lt;b&gt;three" in text


def test_slider_moves_and_numbers_are_those_of_the_job(report, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    job, page = report
    find = lambda what: browser.find_elements(By.CSS_SELECTOR, what)
    browser.get(page.as_uri())
    assert f"{FRAMES} of {FRAMES}, 96×64, in 2 shots" in browser.find_element(By.TAG_NAME, "table").text
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    shown = [figure for figure in find("figure") if figure.is_displayed()]
    assert len(shown) == 1 and shown[0].get_attribute("data-frame") == "0"
    edge, slider = shown[0].find_element(By.CLASS_NAME, "edge"), shown[0].find_element(By.TAG_NAME, "input")
    middle = edge.rect["x"]
    slider.send_keys(Keys.ARROW_RIGHT * 10)
    assert slider.get_attribute("value") == "60" and edge.rect["x"] == pytest.approx(
        middle + shown[0].rect["width"] / 10, abs=2
    )
    find("button")[-1].click()
    shown = [figure.get_attribute("data-frame") for figure in find("figure") if figure.is_displayed()]
    assert shown == [str(FRAMES - 1)]
    cells = [cell.text for cell in find("table.rows tbody tr:first-child td")]
    assert cells[1] == str(FRAMES) and cells[0] == collect(job).done[0].node


def test_the_film_is_on_the_right_and_the_source_on_the_left(report, browser, clip):
    from selenium.webdriver.common.by import By

    job, page = report
    browser.get(page.as_uri())
    shot = browser.find_element(By.CSS_SELECTOR, "figure.shown .stack").screenshot_as_png
    seen = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    with FrameReader(clip) as reader:
        halves = reader.read(0, artifacts.timeline.index), artifacts.frame(0)
    seen = cv2.resize(seen, (96, 64), interpolation=cv2.INTER_AREA).astype(int)
    for here, there, columns in ((*halves, slice(2, 44)), (*halves[::-1], slice(52, 94))):
        gap = lambda picture: np.abs(seen[:, columns] - picture[:, columns]).mean()
        assert gap(here) < 25 and gap(there) > 2 * gap(here)


def test_a_job_without_frames_is_refused_and_an_explicit_name_never_replaced(share, clip, style, report):
    create(share, clip, style)
    made = CliRunner().invoke(coordinator.main, ["report", str(share.layout.root)])
    assert made.exit_code == 2 and "expected stylized frames to report on, got none yet" in made.output
    job, page = report
    before = page.read_bytes()
    again = CliRunner().invoke(coordinator.main, ["report", str(job.share.layout.root), "--out", str(page)])
    assert again.exit_code == 2 and "expected a new name" in again.output and page.read_bytes() == before


def test_an_unfinished_job_has_a_page_too_and_a_damaged_result_is_left_out(share, clip, style):
    job = create(share, clip, style, frames=6)
    assert work(job)
    path = job.layout.result(frame_task(2))
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:60])
    shutil.rmtree(job.layout.results / "stitch")
    facts = collect(job)
    assert facts.stitched is None and [one.number for one in sorted(facts.of("frame"), key=lambda one: one.number)] == [
        0,
        1,
        3,
        4,
        5,
    ]
    assert results.read_head(job, frame_task(1), 8)[0] == b"\x89PNG\r\n\x1a\n"
