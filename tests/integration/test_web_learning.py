"""A style is learned from a painting on the page: the command `fav train` in a process, which is watched, stopped and continued."""

import json
import time

import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("httpx2", reason="the extra `dev` is not installed")

from starlette.testclient import TestClient

from fav.model.checkpoints import style_facts
from fav.pipeline.job_files import open_share
from fav.web.app import Web
from fav.web.learning import MARK_FILE, RECORD
from fav.web.security import Access
from tests.helpers.training_material import TINY, make_painting

FEW = (
    "--crop",
    "32",
    "--style-size",
    "96",
    "--workers",
    "0",
    "--threads",
    "1",
    "--precision",
    "float32",
    "--init",
    "none",
)
PATIENCE_S = 120


class Page(TestClient):
    """A browser that has opened the link, of a page whose trainings are tiny."""

    def __init__(self, root, words=()):
        self.web = Web(root, Access("a token of the tests"), every_s=0.2, train_words=words)
        super().__init__(self.web.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        self.headers["X-Fav-CSRF"] = self.web.access.csrf
        self.cookies.set(self.web.access.cookie, self.web.access.session)

    def trainings(self) -> list[dict]:
        return self.get("/api/learning").json()["trainings"]

    def until(self, condition) -> dict:
        """What is told of the only training, as soon as `condition` holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition(found := self.trainings()[0]):
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found


@pytest.fixture
def place(root):
    root.mkdir(exist_ok=True)
    open_share(root)
    make_painting(root / "stripes.png")
    return root


@pytest.fixture
def page(place, loss_network):
    with Page(place, ("--loss-network", str(loss_network), "--arch", TINY, *FEW)) as client:
        yield client


ORDER = {"name": "mine", "painting": "stripes.png", "crop": [0, 0, 80, 64], "minutes": 0.02}


@pytest.mark.slow
def test_style_is_learned_watched_and_usable_at_once(page, place):
    answer = page.post("/styles/learn", json=ORDER)
    assert answer.status_code == 200, answer.text
    assert "--style-crop 0,0,80,64" in answer.json()["line"] and answer.json()["line"].startswith("fav train ")
    assert (
        "is being learned on this machine" in page.post("/styles/learn", json={**ORDER, "name": "two"}).json()["error"]
    )
    done = page.until(lambda one: not one["running"])
    assert done["style"] == "learning/mine/mine.safetensors" and "done: " in done["words"], done
    assert done["iteration"] == len(done["losses"]) > 0 and done["sheet"] and done["plot"]
    for which in ("sheet", "losses"):
        picture = page.get(f"/styles/learn/mine/{which}.png")
        assert picture.headers["content-type"] == "image/png" and picture.content.startswith(b"\x89PNG")
    assert done["style"] in page.get("/api/videos").json()["styles"]
    assert page.get("/api/videos").json()["pictures"] == ["stripes.png"]
    facts = style_facts(place / done["style"]).metadata
    assert "80" in facts["train_command"] if "train_command" in facts else facts["style"] == "stripes.png"
    assert "is or was learned" in page.post("/styles/learn", json=ORDER).json()["error"]
    more = page.post("/styles/learn/mine/continue", json={"minutes": 0.2})
    assert more.status_code == 200, more.text
    longer = page.until(lambda one: not one["running"] and one["minutes"] == 0.2)
    assert longer["iteration"] > done["iteration"]


@pytest.mark.slow
def test_training_that_is_stopped_or_whose_page_ends_goes_on_with_another_page(page, place):
    page.post("/styles/learn", json={**ORDER, "minutes": 100})
    page.until(lambda one: one["iteration"] > 0 or "iteration" in one["words"] or not one["running"])
    with Page(place) as other:
        (seen,) = other.trainings()
        assert seen["running"] and not seen["here"]
        assert "expected a training that runs on this machine" in other.post("/styles/learn/mine/stop").json()["error"]
        assert (
            "it is being learned already"
            in other.post("/styles/learn/mine/continue", json={"minutes": 200}).json()["error"]
        )
    assert page.post("/styles/learn/mine/stop").status_code == 200
    page.until(lambda one: not one["running"])
    page.post("/styles/learn/mine/continue", json={"minutes": 200})
    page.until(lambda one: one["running"])
    page.web.learning.close()
    assert not page.trainings()[0]["running"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"}, {"name": "-x"}, {"name": "X"}, {"name": ""}, {"name": 3}, {"name": "a" * 61}, {"name": "a\n"},
        {"painting": "../stripes.png"}, {"painting": "/etc/passwd"}, {"painting": "none.png"}, {"painting": None},
        {"painting": "fav-share.json"}, {"minutes": 0}, {"minutes": "5"}, {"minutes": True}, {"minutes": 1e9},
        {"crop": [0, 0, 10]}, {"crop": [0, 0, -1, 5]}, {"crop": "0,0,1,1"}, {"crop": [0, 0, 1.5, 1]},
    ],
)  # fmt: skip
def test_orders_that_cannot_be_are_refused_and_start_nothing(page, place, change):
    answer = page.post("/styles/learn", json={**ORDER, **change})
    assert answer.status_code == 400 and answer.json()["error"], answer.text
    assert page.trainings() == [] and not list(place.glob("learning/*/*"))


def test_directory_of_somebody_else_is_left_alone(page, place):
    (place / "learning").mkdir()
    answer = page.post("/styles/learn", json=ORDER)
    assert answer.status_code == 400 and "move it away" in answer.json()["error"]
    assert list((place / "learning").iterdir()) == [] and page.trainings() == []


def test_records_that_others_wrote_run_nothing_of_theirs(page, place):
    page.post("/styles/learn", json={**ORDER, "painting": "none.png"})
    directory = place / "learning" / "mine"
    directory.mkdir(parents=True, exist_ok=True)
    (place / "learning" / MARK_FILE).write_bytes(b"Styles that `fav web` learns, each with its sheets and state.\n")
    for record in (
        {**ORDER, "painting": "/etc/passwd"}, {**ORDER, "painting": "--device"}, {**ORDER, "crop": ["--out", 1, 2, 3]}, [], 7,
    ):  # fmt: skip
        (directory / RECORD).write_text(json.dumps(record))
        assert page.post("/styles/learn/mine/continue", json={"minutes": 5}).status_code == 400, record
    (directory / RECORD).unlink()
    (directory / RECORD).symlink_to("/etc/passwd")
    assert page.trainings() == [] and page.get("/styles/learn/mine/sheet.png").status_code == 400
    assert page.get("/styles/learn/../mine/sheet.png").status_code == 404
    assert page.get("/styles/learn/mine/state.png").status_code == 400
    assert page.post("/styles/learn/mine/delete").status_code == 404


def test_strangers_learn_nothing(place):
    web = Web(place, Access("a token of the tests"))
    stranger = TestClient(web.app, base_url="http://127.0.0.1")
    assert stranger.post("/styles/learn", json=ORDER).status_code == 403 == stranger.get("/api/learning").status_code
    web.close()
