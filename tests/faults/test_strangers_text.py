"""Words that strangers left on the share, in logs and in results reach terminals, screens, plots and pages as plain text."""

import asyncio
import dataclasses
import html
import json
import os
import unicodedata
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from textual.widgets import DataTable

import coordinator
from fav.errors import FavError
from fav.monitor.progress import LogTail
from fav.monitor.snapshot import NodeSnapshot, NodeStatus, Snapshot, SnapshotReader
from fav.monitor.tui import StatusApp
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import frame_task, index_task, report_task
from fav.report.data import collect
from fav.report.html import options, page
from fav.stylize.indexing import index_segments
from fav.training.loss_curves import plot
from fav.training.trainer import COLUMNS
from fav.util.images import encode_png
from shared import results
from shared.errors import JobQueueError, sanitize
from shared.heartbeat import temporary_member
from shared.identity import Identity, identities
from shared.jobs import Manifest
from shared.shared_dir import SharedDir
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import create

FORGED = "\x1b]0;PWNED\x07\x1b[31mred\nnode fake: running"
LOCAL = dataclasses.replace(Identity.here(), start=0)  # nobody waits for its heartbeat: its process is gone


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


def told(*words) -> str:
    """All that a command of the operator prints."""
    made = CliRunner().invoke(coordinator.main, [*map(str, words)])
    assert made.exception is None or isinstance(made.exception, SystemExit), made.exc_info
    return made.output


def is_plain(text: str) -> bool:
    """Whether all that is written in these lines can be seen."""
    return all(unicodedata.category(letter)[0] != "C" or letter == "\n" for letter in text)


def heart(share: SharedDir, name: str, **fields) -> None:
    """A file in the room of heartbeats."""
    share.layout.heartbeat(name).write_bytes(dataclasses.replace(LOCAL, **fields).to_bytes())


# ---- terminals
@pytest.mark.parametrize("name", [FORGED, "lab7-1-0123abcd", "lab\u202e7"])
def test_heartbeat_file_with_another_name_inside_is_no_node(share, name):
    heart(share, name)
    assert identities(share) == {} and SnapshotReader(share).read().nodes == ()
    for command in "status", "nodes":
        output = told(command, share.layout.root)
        assert is_plain(output) and "fake" not in output and "lab" not in output
    assert "got none" in told("drain", share.layout.root) and not share.layout.control.exists()


def test_heartbeat_file_with_its_own_name_inside_is_a_node(share):
    heart(share, LOCAL.incarnation, host="lab")
    assert LOCAL.incarnation in told("status", share.layout.root)
    assert LOCAL.incarnation in told("drain", share.layout.root, LOCAL.incarnation)


@pytest.mark.parametrize("host", ["lab\x1b[2J", "lab\u202e", "lab\u200b", "lab\u3164", "lab\n"])
def test_host_with_letters_that_nobody_sees_is_no_nodes(share, host):
    heart(share, LOCAL.incarnation, host=host)
    assert identities(share) == {} and "lab" not in told("status", share.layout.root)


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31m",
        "\x9b31m",
        "\r",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u200b",
        "\ufeff",
        "\u034f",
        "\u3164",
        "\udce9",
        "\ue000",
    ],
)
def test_plain_text_has_only_letters_that_are_seen(text):
    assert sanitize(f"a{text}b") == f"a?{text[1:]}b"
    assert sanitize("æ ☃ 視頻 é") == "æ ☃ 視頻 é"


@pytest.mark.parametrize("error", [FavError, JobQueueError])
def test_messages_that_quote_strangers_are_plain_and_one_line(error):
    assert (
        str(error(f"style {FORGED}: expected weights"))
        == "style ?]0;PWNED??[31mred?node fake: running: expected weights"
    )
    assert len(str(error("x" * 10**6))) < 10**4


def test_lines_of_logs_are_shown_without_escapes(tmp_path):
    log = tmp_path / "a.log"
    talk = LogTail([log])
    log.write_bytes("12:00:00 \x1b]0;PWNED\x07\x1b[31mred\n12:00:01 \u202edone\n".encode() + b"x" * 10**5 + b"\n")
    lines = [line.message for line in talk.lines()]
    assert lines[:2] == ["?]0;PWNED??[31mred", "?done"] and len(lines[2]) <= 2000


@pytest.mark.parametrize("out", ["film\x1b[31m.mp4", "film\u202e4pm.mp4", "a\nnode fake: running.mp4"])
def test_manifest_with_escapes_in_its_words_is_refused(share, clip, style, out):
    job = create(share, clip, style, name="film")
    spec = {**job.manifest.spec, "out": out}
    share.layout.named_manifest("film").write_bytes(Manifest(job.manifest.id, "film", spec).to_bytes())
    output = told("status", share.layout.root)
    assert is_plain(output) and "film: job: out: expected visible characters" in output
    with pytest.raises(FavError, match="fill"):
        JobSpec.from_json({**job.manifest.spec, "occlusion_fill": "\x1b[31m"})


# ---- the full screen
@pytest.mark.parametrize("word", ["[/]", "[@click=app.quit]lab[/]"])
def test_screen_shows_markup_as_text(word):
    node = NodeSnapshot("a-1-0123abcd", word, 1, word, NodeStatus.BUSY, 1.0, (word,), 0, None)

    class Looks:
        def read(self):
            return Snapshot((), (node,), (word,))

    async def session():
        app = StatusApp(Looks(), every=60)
        async with app.run_test(size=(140, 40)) as pilot:
            while not app.query_one(DataTable).row_count:
                await asyncio.sleep(0.02)
            app.tell(word)
            await pilot.pause()
            assert str(app.query_one(DataTable).get_row_at(0)[1]) == word
            shown = "\n".join(
                "".join(segment.text for segment in line) for line in app.screen._compositor.render_strips()
            )
            assert shown.count(word) >= 3

    asyncio.run(session())


# ---- the page
@pytest.fixture(scope="module")
def told_job(tmp_path_factory, clip, style):
    """A job of three frames that nobody has painted, but whose results are there, and where they lie."""
    from shared.shared_dir import open_share

    share = open_share(tmp_path_factory.mktemp("share"))
    job = create(share, clip, style, name="film", frames=3, no_cuts=True)
    spec = {**job.manifest.spec, "evaluate": "none.png"}
    job = type(job)(share, dataclasses.replace(job.manifest, spec=spec))
    with temporary_member(share) as node:
        piece = next(index_segments(clip, 3, ()))
        results.publish_bytes(node, job, index_task(0), json.dumps(piece.to_json()).encode())
    return job, clip


def written(told_job, texts: list[dict], evaluation: bytes = b'{"frames": []}'):
    """The facts of a job whose frames have these texts, and whose evaluation is this."""
    job, _ = told_job
    for number, text in enumerate(texts):
        path = job.layout.result(frame_task(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.zeros((64, 96, 3), np.uint8), text))
    path = job.layout.result(report_task(".json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(evaluation)
    return collect(job)


def page_of(told_job, *what) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return page(written(told_job, *what), told_job[1], "mark")


GOOD = {"node": "a-1-0123abcd", "numeric-class": "cpu", "seconds": "1.5"}


@pytest.mark.parametrize(
    "nodes",
    [
        (r"$\frac{$", r"$\alpha$ \undefined{", "_hidden"),
        ("<script>alert(1)</script>", "--></svg><script>alert(2)", "\U0001f600 視頻\x1b[31m" + "x" * 3000),
    ],
)
def test_page_shows_words_of_results_as_they_are(told_job, nodes):
    made = page_of(told_job, [{**GOOD, "node": node, "numeric-class": node} for node in nodes])
    assert "<script>alert" not in made and "--></svg><script>" not in made and "\x1b" not in made
    for node in nodes[:2]:
        assert (
            made.count(html.escape(node, quote=False)) + made.count(html.escape(node)) >= 2
        )  # in the plot, too: no mathematics


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "-1", "1e308", "1e999", "soon", ""])
def test_times_that_no_task_takes_are_left_out(told_job, seconds):
    facts = written(told_job, [{**GOOD, "seconds": seconds}, GOOD, GOOD])
    assert facts.odd == {"impossible durations": 1} and [one.took for one in facts.done].count(1.5) == 2


@pytest.mark.parametrize("error", ['"much"', "[1]", "-1", "NaN", "Infinity", "1e308", "true", "{}"])
def test_measurements_that_are_none_are_left_out(told_job, error):
    rows = '{"frames": [{"frame": 1, "film": {"warping_error": ERROR}}, {"frame": 2, "film": {"warping_error": 0.25}}]}'
    rows = rows.replace("ERROR", error)
    facts = written(told_job, [GOOD] * 3, rows.encode())
    assert facts.odd == {"invalid measurements": 1} and facts.errors == {2: 0.25}


@pytest.mark.parametrize(
    "rows",
    [
        "[]",
        "7",
        '{"frames": 7}',
        '{"frames": [7]}',
        '{"frames": [{"frame": 99999, "film": {"warping_error": 1}}]}',
        "{",
        "[" * 5000,
    ],
)
def test_an_evaluation_that_is_none_is_left_out(told_job, rows):
    assert sum(written(told_job, [GOOD] * 3, rows.encode()).odd.values()) == 1


def test_page_says_what_it_leaves_out(told_job):
    made = page_of(told_job, [{**GOOD, "seconds": "nan"}, {**GOOD, "seconds": "soon"}, GOOD], b"[]")
    assert "2 impossible durations, 1 invalid measurements" in made


def test_page_is_made_with_times_of_other_centuries_and_without_a_picture_that_does_not_read(told_job):
    page_of(told_job, [GOOD] * 3)
    job, video = told_job
    os.utime(job.layout.result(frame_task(0)), (0, 0))
    os.utime(job.layout.result(frame_task(1)), (2**40, 2**40))
    head = job.layout.result(frame_task(2)).read_bytes()[:-20]
    job.layout.result(frame_task(2)).write_bytes(head)
    made = page(collect(job), video, "mark")
    assert "1 pictures that cannot be shown" in made and 'data-frame="0"' in made


def test_nodes_that_made_least_are_added_up(told_job, monkeypatch):
    monkeypatch.setattr("fav.report.data.MAX_NODES", 1)
    facts = written(told_job, [{**GOOD, "node": "much"}, {**GOOD, "node": "much"}, {**GOOD, "node": "little"}])
    assert {one.node for one in facts.done} == {"much", "others"}


def test_video_whose_name_is_no_text_can_be_told_of(told_job):
    job, _ = told_job
    written(told_job, [GOOD] * 3)
    spec = {**job.manifest.spec, "video": "caf\udce9.mp4"}
    facts = collect(type(job)(job.share, dataclasses.replace(job.manifest, spec=spec)))
    assert options(facts)["recorded video"] == "caf?.mp4"


@settings(max_examples=6, deadline=None, suppress_health_check=[*HealthCheck])
@given(
    texts=st.lists(
        st.dictionaries(
            st.sampled_from([*GOOD]),
            st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60) | st.floats().map(str),
            max_size=3,
        ),
        min_size=3,
        max_size=3,
    ),
    rows=st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["frames", "frame", "film", "warping_error"]), inner, max_size=3)
        ),
        max_leaves=8,
    ),
)
@example(texts=[{"node": "$_$", "seconds": "nan"}] * 3, rows={"frames": [{"frame": 0, "film": {"warping_error": "1"}}]})
def test_page_is_made_of_any_words(told_job, texts, rows):
    made = page_of(told_job, texts, json.dumps(rows).encode())
    assert made.endswith("</html>\n") and made.count("<svg") >= 2


# ---- plots
def test_title_of_a_training_plot_is_text(recwarn):
    history = [[1.0] * len(COLUMNS)] * 3
    assert plot(history, "$\\frac{$ \U0001f600.png", "mark").startswith(b"\x89PNG")
    assert not recwarn.list
