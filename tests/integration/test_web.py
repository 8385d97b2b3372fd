"""The page of `fav web` without a browser: what it answers, whom it refuses, and that it does what the commands do."""

import asyncio
import json
import os
import re
import shutil
import signal
import time
import zlib
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("httpx2", reason="the extra `dev` is not installed")

from starlette.testclient import TestClient

from fav.cli.common import SETTINGS
from fav.cli.jobs import submit as submit_command
from fav.cli.options import request_of
from fav.errors import FavError
from fav.pipeline.job_files import open_share
from fav.pipeline.spec import OPTIONS, JobSpec
from fav.util.images import encode_png
from fav.web import forms, pictures, places, uploads
from fav.web.app import Web
from fav.web.live import Live
from fav.web.security import Access
from fav.web.uploads import Upload
from fav.web.views import cards
from fav.web.worker import Worker
from shared.jobs import find_job
from shared.shared_dir import SharedDir
from tests.helpers.job_system import join
from tests.helpers.video_jobs import FRAMES, create, film_of, make_moving, start_node, work

TOKEN = "a token of the tests"
EVIL = "<img src=x onerror=alert(1)>"
LOOKS = 7
PAGES = ("/", "/new", "/styles", "/machines")
OTHERS = (
    "/events", "/jobs/x/film", "/jobs/x/source", "/jobs/x/report", "/jobs/x/frame.jpg", "/api/videos", "/api/video?video=x",
    "/films/x", "/machines/logs/x.log", "/static/page.js", "/api/trial.jpg", "/api/moment.jpg", "/api/style.jpg", "/api/picture.jpg",
)  # fmt: skip


class Page(TestClient):
    """A browser that has opened the link."""

    def __init__(self, root: Path, **more):
        self.web = Web(root, Access(TOKEN, **more), every_s=0.05)
        super().__init__(self.web.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        self.headers["X-Fav-CSRF"] = self.web.access.csrf
        self.cookies.set(self.web.access.cookie, self.web.access.session)

    def until(self, condition, seconds: float = 20.0):
        """What `condition` says of the cards, as soon as that is true."""
        end = time.monotonic() + seconds
        while not (found := condition(self.web.live.cards(1.0))):
            assert time.monotonic() < end, self.web.live.cards()
            time.sleep(0.02)
        return found


@pytest.fixture
def opened(root: Path) -> SharedDir:
    """A share of film jobs."""
    root.mkdir(exist_ok=True)
    return open_share(root)


@pytest.fixture
def page(opened):
    with Page(opened.layout.root) as client:
        yield client


@pytest.fixture(scope="module")
def done(tmp_path_factory, clip, style):
    """A finished job, and a page of its share."""
    share = open_share(tmp_path_factory.mktemp("share"))
    shutil.copy(clip, share.layout.root / "clip.mp4")
    shutil.copy(style, share.layout.root / "tiny.safetensors")
    job = create(share, share.layout.root / "clip.mp4", style)
    assert work(job)
    with Page(share.layout.root) as client:
        yield client, job


# ---- who gets in
def test_nothing_is_answered_without_the_token(opened):
    web = Web(opened.layout.root, Access(TOKEN))
    client = TestClient(web.app, base_url="http://127.0.0.1")
    for address in (*PAGES, *OTHERS):
        assert client.get(address).status_code == 403, address
    assert client.post("/jobs", json={}).status_code == 403 and client.put("/uploads").status_code == 403
    assert client.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/?token=wrong").status_code == 403
    client.cookies.set(web.access.cookie, "forged")
    assert client.get("/").status_code == 403
    other = Access("another token")
    client.cookies.set(web.access.cookie, other.session)
    assert client.get("/").status_code == 403
    web.close()


def test_the_link_opens_the_page_and_does_not_stay_in_the_address(opened):
    web = Web(opened.layout.root, Access(TOKEN))
    client = TestClient(web.app, base_url="http://127.0.0.1", follow_redirects=False)
    answer = client.get("/films/x", params={"token": TOKEN, "again": "y"})
    assert answer.status_code == 303 and answer.headers["location"] == "/films/x?again=y"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie
    assert client.get("/static/page.js").status_code == 200  # with the cookie of that answer
    away = client.get("http://127.0.0.1//evil.example/", params={"token": TOKEN})
    assert away.headers["location"] == "/evil.example/"
    web.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "", "127.0.0.1.evil.example", "[::1", "192.168.1.1"]
)
def test_names_that_lead_here_by_a_strangers_word_are_refused(page, host):
    assert page.get("/", headers={"Host": host}).status_code == 421


def test_a_page_for_the_network_answers_to_addresses_but_to_no_strangers_name(opened):
    with Page(opened.layout.root, any_address=True) as client:
        assert client.get("/", headers={"Host": "192.168.1.1:8765"}).status_code == 200
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Fav-CSRF": ""},
        {"X-Fav-CSRF": "0" * 64},
    ],
)
def test_another_page_changes_nothing(page, opened, clip, style, headers):
    job = create(opened, clip, style)
    assert page.post(f"/jobs/{job.name}/pause", headers=headers, json={}).status_code == 403
    assert job.flags() == set()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_port_has_nothing_painted(done, site):
    client, job = done
    costly = (
        "/api/trial.jpg?video=clip.mp4&style=tiny.safetensors&at=1",
        f"/jobs/{job.name}/frame.jpg?n=1",
        "/api/videos",
        "/events",
    )
    for address in costly:
        for mode, what in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": what}
            assert client.get(address, headers=headers).status_code == 403, (address, mode)
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=followed).status_code == 200  # a link in a mail


def test_pages_have_no_script_or_style_of_their_own_and_may_load_none_of_others(done):
    client, job = done
    for address in (*PAGES, f"/films/{job.name}"):
        answer = client.get(address)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)|javascript:|https?://", answer.text)
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
    report = client.get(f"/jobs/{job.name}/report")
    assert "sandbox allow-scripts;" in report.headers["content-security-policy"] and job.name in report.text


# ---- what can be read
def test_no_key_leads_out_of_the_share_or_among_the_files_of_nodes(page, opened, clip, tmp_path):
    root = opened.layout.root
    outside = tmp_path / "secret.mp4"
    shutil.copy(clip, outside)
    (root / "link.mp4").symlink_to(outside)
    (root / "door").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.mp4")
    (root / "nodes" / "a.mp4").write_bytes(b"x")
    keys = ["../secret.mp4", str(outside), "link.mp4", "door/secret.mp4", "pipe.mp4", "nodes/a.mp4", "./nodes/a.mp4", "x/../nodes/a.mp4",
            "fav-share.json", "", ".", "a\0.mp4", "frame_%04d.mp4", "jobs/../../secret.mp4", "clip.mp4/", "none.mp4"]  # fmt: skip
    for key in keys:
        for address in ("/api/video", "/api/moment.jpg", "/api/trial.jpg"):
            answer = page.get(address, params={"video": key, "style": "wave"})
            assert answer.status_code in (400, 503), (address, key, answer.text)
        with pytest.raises(FavError):
            places.file_of(root, key, "video")
        with pytest.raises(FavError):
            places.style_of(root, key)
    assert page.get("/api/videos").json()["videos"] == []
    (root / "nodes" / "a.mp4").unlink()


@pytest.mark.parametrize(
    "address",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fweb%2fapp.py", "/machines/logs/..%2Ffav-share.json",
     "/machines/logs/%2e%2e", "/jobs/..%2f..%2fx/film", "/jobs/%00/film", "/films/%2e%2e%2fx"],
)  # fmt: skip
def test_addresses_lead_nowhere_else(page, address):
    answer = page.get(address)
    assert answer.status_code in (400, 404, 503) and "fav_share" not in answer.text and "import" not in answer.text


def test_a_log_is_read_and_a_link_in_its_place_is_not(page, opened, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    (opened.layout.logs / "job.host.0.log").write_text(f"\x1b[31m{EVIL}\n")
    (opened.layout.logs / "link.log").symlink_to(secret)
    text = page.get("/machines/logs/job.host.0.log").text
    assert "&lt;img src=x" in text and EVIL not in text and "\x1b" not in text
    assert "a secret" not in page.get("/machines/logs/link.log").text


def test_markup_in_names_stays_text(page, opened, clip, style):
    root = opened.layout.root
    shutil.copy(clip, root / f"{EVIL}.mp4")
    shutil.copy(style, root / f"{EVIL}.safetensors")
    (opened.layout.logs / f"{EVIL}.log").write_text("said")
    join(opened, EVIL)
    job = create(opened, root / f"{EVIL}.mp4", root / f"{EVIL}.safetensors")
    page.until(lambda found: f"job:{job.name}" in found and any(card.get("host") == EVIL for card in found.values()))
    for address in (
        *PAGES,
        f"/films/{job.name}",
        f"/new?again={job.name}",
        f"/new?again={quote(EVIL)}",
        f"/films/{quote(EVIL)}",
    ):
        text = page.get(address, headers={"Accept": "text/html"}).text
        assert "<!doctype html>" in text and "<img src=x" not in text, address
    assert f"{EVIL}.mp4" in page.get("/api/videos").json()["videos"]
    assert page.get("/api/videos").headers["content-type"] == "application/json"


def test_a_film_is_sent_in_the_ranges_that_a_player_asks_for(done):
    client, job = done
    film = film_of(job).read_bytes()
    address = f"/jobs/{job.name}/film"
    whole = client.get(address)
    assert (
        whole.content == film
        and whole.headers["content-type"] == "video/mp4"
        and whole.headers["accept-ranges"] == "bytes"
    )
    for asked, part in {
        "bytes=0-9": film[:10],
        "bytes=100-": film[100:],
        "bytes=-7": film[-7:],
        "bytes=5-99999999": film[5:],
    }.items():
        answer = client.get(address, headers={"Range": asked})
        assert answer.status_code == 206 and answer.content == part, asked
        assert answer.headers["content-range"].endswith(f"/{len(film)}")
    assert client.get(address, headers={"Range": f"bytes={len(film)}-"}).status_code == 416
    for odd in ("bytes=9-1", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=-"):
        assert client.get(address, headers={"Range": odd}).status_code in (200, 416), odd
    assert int(client.head(address).headers["content-length"]) == len(film)
    assert "attachment" in client.get(address, params={"download": ""}).headers["content-disposition"]
    assert client.get(f"/jobs/{job.name}/source").content == (job.share.layout.root / "clip.mp4").read_bytes()
    assert client.get(address, params={"file": "../fav-share.json"}).status_code == 404


def test_frames_come_before_and_after_and_only_those_that_are_there(done):
    client, job = done
    address = f"/jobs/{job.name}/frame.jpg"
    before, after = (client.get(address, params={"n": 3, "side": side}).content for side in ("before", "after"))
    assert before[:2] == after[:2] == b"\xff\xd8" and before != after
    assert client.get(address, params={"n": FRAMES}).status_code == 400
    for odd in ("-1", "x", "1e3", "9" * 30):
        assert client.get(address, params={"n": odd}).status_code == 400


def test_a_file_that_is_removed_while_its_directory_is_read_is_left_out(opened, monkeypatch):
    root, really = opened.layout.root, places._files
    for name in ("gone.mp4", "stays.mp4"):
        (root / name).touch()

    def late(root: Path):
        for entry in list(really(root)):
            (root / "gone.mp4").unlink(missing_ok=True)
            yield entry

    monkeypatch.setattr(places, "_files", late)
    assert places.listed(root, "video") == ["stays.mp4"]


def test_a_video_that_is_removed_when_it_was_found_is_no_fault_of_the_share(page, monkeypatch):
    monkeypatch.setattr(places, "file_of", lambda root, key, kind: root / key)
    answer = page.get("/api/moment.jpg", params={"video": "gone.mp4", "at": 0})
    assert answer.status_code == 400 and "gone.mp4: expected a file, found none" in answer.json()["error"]


# ---- what it does
def test_buttons_do_what_the_commands_do(page, opened, clip, style):
    job = create(opened, clip, style)
    act = lambda action, **fields: page.post(f"/jobs/{job.name}/{action}", json=fields)
    assert act("pause").json()["said"][0].startswith(f"{job.name}: paused") and job.flags() == {"paused"}
    assert page.until(lambda found: found.get(f"job:{job.name}", {}).get("state") == "paused")
    assert act("resume").status_code == 200 and job.flags() == set()
    assert act("priority", priority=7).status_code == 200 and job.priority(job.flags()) == 7
    for odd in (1000, "7", None, True, 1.5):
        assert act("priority", priority=odd).status_code == 400
    refused = act("clean")
    assert refused.status_code == 400 and "the job is not finished" in refused.json()["error"]
    assert act("cancel").status_code == 200 and "cancelled" in job.flags()
    assert act("retry").status_code == 200 and "cancelled" not in job.flags()
    act("cancel")
    assert act("clean").status_code == 200 and find_job(opened, job.name) is None
    assert act("pause").status_code == 400 and act("format").status_code == 404
    assert page.post("/jobs/none/pause", content=b"[" * 100_000).status_code == 400
    assert page.post("/jobs/none/pause", content=b"x" * (2 << 20)).status_code == 413


def test_nodes_are_asked_to_leave(page, opened):
    node = join(opened, "far")
    name = node.identity.incarnation
    assert page.post(f"/nodes/{name}/drain", json={}).json() == {"said": [f"{name} was asked to leave"]}
    assert [path.name for path in opened.layout.control.iterdir()] == [f"{name}.drain"]
    page.until(lambda found: found.get(f"node:{name}", {}).get("state") == "draining")
    assert page.post("/nodes/nobody/stop", json={}).status_code == 400
    node.leave()
    page.until(lambda found: f"node:{name}" not in found and found["now"]["none"])
    assert page.post(f"/nodes/{name}/reboot", json={}).status_code == 404


def test_a_page_asks_for_the_job_that_the_command_line_makes(done, style):
    client, job = done
    root = job.share.layout.root
    options = {"width": 48, "frames": "5", "strength": 0.5, "preserve_colors": True, "crf": "20", "chunk": "auto", "range": "2:20",
               "flow": "dis", "style_scale": 2, "cut_threshold": "30.5", "no_cuts": True, "name": "mine"}  # fmt: skip
    wanted = forms.request_from(root, {"video": "clip.mp4", "style": "tiny.safetensors", "options": options})
    line = ["--width", "48", "--frames", "5", "--strength", ".5", "--preserve-colors", "--crf", "20", "--chunk", "auto", "--range", "2:20",
            "--flow", "dis", "--style-scale", "2", "--cut-threshold", "30.5", "--no-cuts", "--name", "mine"]  # fmt: skip
    words = [str(root), str(root / "clip.mp4"), str(root / "tiny.safetensors"), *line]
    typed = submit_command.make_context("submit", words, **SETTINGS)  # click keeps the first help option that it makes
    values = {name: value for name, value in typed.params.items() if name in OPTIONS}
    assert wanted == request_of(typed, typed.params["video"], typed.params["style"], values)
    answer = client.post(
        "/api/estimate", json={"video": "clip.mp4", "style": "tiny.safetensors", "options": options}
    ).json()
    assert answer["frames"] == 5 and answer["name"] == "mine" and answer["size"] == "48×32"
    assert answer["line"].startswith("fav run ") and "--width 48" in answer["line"] and "--no-cuts" in answer["line"]
    made = client.post("/jobs", json={"video": "clip.mp4", "style": "tiny.safetensors", "options": options}).json()
    assert made["name"] == "mine" and made["created"]
    new = find_job(job.share, "mine")
    spec = JobSpec.from_json(new.manifest.spec)
    assert (spec.width, spec.start, spec.stop, spec.strength, spec.chunk, spec.cuts) == (
        48,
        2,
        7,
        0.5,
        None,  # auto, of a short film
        (),
    )
    again = forms.filled_from(new)
    assert again["options"]["range"] == "2:7" and again["options"]["strength"] == 0.5 and again["video"] == "clip.mp4"
    assert forms.request_from(root, again).range == (2, 7)


@pytest.mark.parametrize(
    "fields",
    [
        [], {}, {"video": "clip.mp4"}, {"video": ["clip.mp4"], "style": "wave"}, {"video": "clip.mp4", "style": "none"},
        *({"video": "clip.mp4", "style": "wave", "options": options} for options in (
            [], {"shell": "rm"}, {"crf": 99}, {"crf": "nan"}, {"strength": "nan"}, {"mask": "/etc/passwd"}, {"mask": "../x.png"},
            {"out": "../x.mp4"}, {"out": "jobs/x.mp4"}, {"name": "-x"}, {"mix": "wave"}, {"mix": [["../x", 0.5]]}, {"flow": "none"},
            {"width": "1" * 2000}, {"no_cuts": "yes"}, {"evaluate": "/etc/hostname"}, {"flow_from": "x_%04d.flo"}, {"range": "9:1"},
            {"first_frame_style": "/etc/passwd"}, {"width": {}})),
    ],
)  # fmt: skip
def test_what_no_form_sends_makes_no_job(done, fields):
    client, job = done
    before = sorted(job.share.layout.by_name.iterdir())
    answer = client.post("/jobs", json=fields)
    assert answer.status_code == 400 and answer.json()["error"], answer.text
    assert sorted(job.share.layout.by_name.iterdir()) == before


def test_the_form_has_every_option_of_the_schema(page):
    text = page.get("/new").text
    for name in OPTIONS:
        assert name in forms.OWN_CONTROLS or f'data-option="{name}"' in text, name
        assert text.count(f'data-option="{name}"') <= 1


def test_a_video_of_another_job_is_linked_and_outlives_it(done, clip, style, tmp_path):
    client, job = done
    elsewhere = tmp_path / "elsewhere.mp4"
    shutil.copy(clip, elsewhere)
    first = create(job.share, elsewhere, style, frames=2)
    key = forms.filled_from(first)["video"]
    assert key.startswith("jobs/")
    made = client.post("/jobs", json={"video": key, "style": "tiny.safetensors", "options": {"name": "second"}}).json()
    assert made["created"], made
    spec = JobSpec.from_json(find_job(job.share, "second").manifest.spec)
    assert spec.video != key and (job.share.layout.root / spec.video).samefile(job.share.layout.root / key)


# ---- uploads
def pieces(client, name: str, data: bytes, size: int = 1000, changed: int = 1):
    """Send a file in pieces; the last answer."""
    about = {"name": name, "size": len(data), "changed": changed}
    answer = client.post("/uploads", json=about)
    offset = answer.json().get("offset")
    while answer.status_code == 200 and offset < len(data):
        answer = client.put("/uploads", params={**about, "offset": offset}, content=data[offset : offset + size])
        offset = answer.json().get("offset")
    return answer


def test_an_upload_goes_on_at_another_server_and_replaces_nothing(page, opened, clip):
    data, root = clip.read_bytes(), opened.layout.root
    about = {"name": "../../my film;$(x).MP4", "size": len(data), "changed": 5}
    assert page.post("/uploads", json=about).json()["offset"] == 0
    half = len(data) // 2
    assert page.put("/uploads", params={**about, "offset": 0}, content=data[:half]).json() == {"offset": half}
    with Page(root) as other:
        assert other.post("/uploads", json=about).json()["offset"] == half
        wrong = other.put("/uploads", params={**about, "offset": 3}, content=b"x")
        assert wrong.status_code == 409 and wrong.json()["offset"] == half
        key = other.put("/uploads", params={**about, "offset": half}, content=data[half:]).json()["key"]
    assert key == "uploads/my_film_x.mp4" and (root / key).read_bytes() == data
    again = pieces(page, "my film;$(x).MP4", data, 1 << 20).json()["key"]
    assert again == "uploads/my_film_x-2.mp4" and (root / key).read_bytes() == data
    assert {path.name for path in (root / "uploads").iterdir()} == {Path(key).name, Path(again).name, uploads.MARK_FILE}
    assert key in page.get("/api/videos").json()["videos"]


def test_what_is_no_video_is_not_kept(page, opened):
    answer = pieces(page, "film.mp4", b"no video at all" * 100)
    assert answer.status_code == 400 and "expected a video" in answer.json()["error"]
    assert [path.name for path in (opened.layout.root / "uploads").iterdir()] == [uploads.MARK_FILE]
    for name in ("film.exe", "film", "style.pth", "", "x" * 501 + ".mp4"):
        assert page.post("/uploads", json={"name": name, "size": 10}).status_code == 400


def test_too_much_and_too_little_are_refused(page, opened):
    about = {"name": "a.mp4", "size": 100, "changed": 0}
    put = lambda offset, data, **more: page.put("/uploads", params={**about, "offset": offset, **more}, content=data)
    assert page.post("/uploads", json=about).status_code == 200
    assert put(0, b"x" * 101).status_code == 400  # more than was announced
    assert put(0, b"x" * (uploads.CHUNK + 1)).status_code == 413
    short = page.put("/uploads", params={**about, "offset": 0}, content=b"x" * 10, headers={"Content-Length": "50"})
    assert short.status_code == 400
    assert page.post("/uploads", json=about).json()["offset"] == 0
    for size in (-1, 0, 1.5, "9", None, True):
        assert page.post("/uploads", json={"name": "a.mp4", "size": size}).status_code == 400
    huge = page.post("/uploads", json={"name": "a.mp4", "size": 1 << 60})
    assert huge.status_code == 400 and "expected space for" in huge.json()["error"]
    upload = Upload("b.mp4", 100)
    uploads.begin(opened, upload)
    uploads.append(opened, upload, 0, b"x" * 50)
    with pytest.raises(FavError, match="begins at byte 50"):
        uploads.finish(opened, upload, lambda path: None)
    assert page.delete("/uploads", params={"name": "b.mp4", "size": 100}).status_code == 200
    assert uploads.begin(opened, upload) == 0


def sent(page, name: str, data: bytes, offset: int = 0):
    """The answer to a file that is sent in one piece."""
    page.post("/uploads", json={"name": name, "size": offset + len(data)})
    query = {"name": name, "size": offset + len(data), "changed": 0, "offset": offset}
    return page.put("/uploads", params=query, content=data)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile 'secret.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///SECRET\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "v=0\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9999 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
    ids=["concat", "hls", "hls over http", "sdp"],
)
def test_a_list_of_other_files_is_no_video(page, opened, clip, tmp_path, text):
    shutil.copy(clip, opened.layout.root / "secret.mp4")
    shutil.copy(clip, tmp_path / "secret.mp4")
    answer = sent(page, "film.mp4", text.replace("/SECRET", str(tmp_path / "secret.mp4")).encode())
    assert answer.status_code == 400, answer.text
    assert not list((opened.layout.root / uploads.NAME).glob("film*"))


def test_a_small_picture_of_a_huge_size_is_refused_and_the_next_one_is_taken(page, opened):
    row = zlib.compress(b"\0" * 1000, 9)
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    head = (30000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    assert "pixels" in sent(page, "bomb.png", bomb).json()["error"]
    good = sent(page, "good.png", encode_png(np.zeros((8, 8, 3), np.uint8)))
    assert good.json()["key"] == "uploads/good.png"


def test_another_name_of_a_film_is_not_written_to(page, opened):
    film = opened.layout.root / "film.mp4"
    film.write_bytes(b"somebody's")
    upload = Upload("film.mp4", 20)
    page.post("/uploads", json={"name": upload.name, "size": upload.size})
    os.link(film, opened.layout.root / uploads.NAME / f".{upload.id}.part.mp4")
    query = {"name": upload.name, "size": upload.size, "changed": 0, "offset": 10}
    assert page.put("/uploads", params=query, content=b"0123456789").status_code == 400
    assert page.post("/uploads", json={"name": upload.name, "size": upload.size}).status_code == 400
    assert film.read_bytes() == b"somebody's"


def test_two_browsers_that_send_one_piece_at_once_write_it_once(opened):
    upload, data = Upload("film.mp4", 20), b"0123456789"
    with uploads._opened(uploads._part(opened, upload), opened), pytest.raises(uploads.OffsetError) as refusal:
        uploads.append(opened, upload, 0, data)
    assert refusal.value.offset == 0
    assert uploads.append(opened, upload, 0, data) == 10
    with pytest.raises(uploads.OffsetError):
        uploads.append(opened, upload, 0, data)


def test_a_directory_of_others_is_not_used_and_no_link_followed(opened, tmp_path):
    root, upload = opened.layout.root, Upload("a.mp4", 4)
    (root / "uploads").mkdir()
    (root / "uploads" / "theirs.txt").write_text("theirs")
    (root / "uploads-2").symlink_to(tmp_path)
    uploads.append(opened, upload, 0, b"abcd")
    key = uploads.finish(opened, upload, lambda path: None)
    assert key == "uploads-3/a.mp4" and [path.name for path in (root / "uploads").iterdir()] == ["theirs.txt"]
    victim = tmp_path / "victim"
    victim.write_text("")
    (root / "uploads-3" / f".{Upload('b.mp4', 4).id}.part.mp4").symlink_to(victim)
    with pytest.raises(FavError):
        uploads.append(opened, Upload("b.mp4", 4), 0, b"abcd")
    assert victim.read_text() == ""


# ---- what may go wrong
def test_a_share_that_goes_away_is_told_and_comes_back(page, opened, clip, style):
    job, root = create(opened, clip, style), opened.layout.root
    page.until(lambda found: f"job:{job.name}" in found)
    gone = root.with_name("unmounted")
    root.rename(gone)
    root.mkdir()
    end = time.monotonic() + 20
    while not page.web.live.trouble:
        page.web.live.cards(1.0)
        assert time.monotonic() < end
    text = page.get("/").text
    assert "is gone" in text and job.name in text  # what was known stays on the page
    for answer in (page.post(f"/jobs/{job.name}/pause", json={}), page.get(f"/films/{job.name}"), page.get("/api/video?video=a.mp4"),
                   page.post("/uploads", json={"name": "a.mp4", "size": 9})):  # fmt: skip
        assert answer.status_code in (400, 503) and answer.json()["error"] and "Traceback" not in answer.text
    assert list(root.iterdir()) == []
    root.rmdir()
    gone.rename(root)
    page.until(lambda found: page.web.live.trouble is None)
    assert page.post(f"/jobs/{job.name}/pause", json={}).status_code == 200


@pytest.mark.slow
def test_a_node_that_dies_is_shown_as_lost_and_another_one_goes_on(page, opened, style, tmp_path):
    job = create(opened, make_moving(tmp_path / "clip.mp4", 4), style, name="film")
    card = lambda found: found.get("job:film", {})
    first = start_node(opened, "--label", "attic")
    try:
        page.until(lambda found: card(found).get("done", 0) > 2 and "attic" in card(found)["who"], 60)
        (name,) = opened.layout.nodes.iterdir()
        first.kill()
        first.wait()
        lost = page.until(lambda found: (node := found.get(f"node:{name.name}", {})).get("state") == "dead" and node)
        assert lost["host"] == "attic" and not lost["alive"] and "attic" in page.get("/machines").text
        assert page.web.live.cards()["now"]["nodes"].startswith("no machine is there")
        assert page.get("/").status_code == page.get("/films/film").status_code == 200
    finally:
        first.kill()
        first.communicate()
    second = start_node(opened, "--job", "film", "--label", "cellar")
    told, _ = second.communicate(timeout=120)
    assert second.returncode == 0, told
    found = page.until(lambda found: card(found).get("state") == "finished" and found)
    assert f"node:{name.name}" not in found and page.get("/jobs/film/film").content == film_of(job).read_bytes()


HOSTILE = [
    "",
    "\0",
    "..",
    "%2e%2e",
    "a/b",
    "a\nb",
    "-rf",
    "x" * 5000,
    "١٢",
    "1e999",
    "nan",
    "-1",
    "9" * 4000,
    "é",
    "\ud83d",
]


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_are_refused_and_are_no_error_of_the_server(done, word, tmp_path):
    client, job = done
    before = sorted(path for path in client.web.root.rglob("*") if "nodes" not in path.parts)
    text = word.encode("utf-8", "surrogatepass")
    inside = quote(text, safe="")
    answers = [client.get(f"/jobs/{job.name}/frame.jpg?n={inside}&w={inside}")]
    answers += [client.get(f"/{room}/{inside}{end}") for room, end in (
        ("films", ""), ("jobs", "/film"), ("jobs", "/source"), ("machines/logs", ""), ("static", ""))]  # fmt: skip
    answers += [client.get(f"/jobs/{job.name}/film?file={inside}"), client.get(f"/new?again={inside}")]
    answers += [client.get(f"/api/{what}?video={inside}&style={inside}&at={inside}&width={inside}&mix={inside}") for what in (
        "video", "moment.jpg", "trial.jpg")]  # fmt: skip
    answers += [client.post(f"/{room}/{inside}/{inside}", json={}) for room in ("jobs", "nodes")]
    answers += [client.post(f"/jobs/{job.name}/priority", content=json.dumps({"priority": value})) for value in (
        word, [word], {"a": word}, None, 1e308, True)]  # fmt: skip
    fields = json.dumps({"video": word, "style": word, "name": word, "size": word})
    answers += [client.post(path, content=fields) for path in ("/jobs", "/uploads", "/api/estimate")]
    answers += [client.put(f"/uploads?name={inside}&size={inside}&changed={inside}&offset={inside}", content=b"x")]
    assert all(answer.status_code < 500 and "Traceback" not in answer.text for answer in answers), [
        (str(answer.url)[:200], answer.status_code, answer.text[:200])
        for answer in answers
        if answer.status_code >= 500
    ]
    assert sorted(path for path in client.web.root.rglob("*") if "nodes" not in path.parts) == before


@pytest.mark.parametrize("body", [
    b"[]", b"null", b"1e999", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 60000, b'{"a":' * 20000, b'{"priority": ' + b"9" * 5000 + b"}",
])  # fmt: skip
def test_hostile_bodies_are_refused(done, body):
    client, job = done
    for path in ("/jobs", f"/jobs/{job.name}/priority", "/nodes/x/drain", "/uploads", "/api/estimate"):
        answer = client.post(path, content=body)
        assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text, (path, answer.text)


@pytest.mark.parametrize("headers", [
    {"Origin": "http://["}, {"Origin": "null"}, {"Origin": "http://127.0.0.1.evil.org"}, {"Origin": "http://evil@127.0.0.1"},
    {"Sec-Fetch-Site": "same-site"}, {"X-Fav-CSRF": "\xe9"}, {"X-Fav-CSRF": ""},
])  # fmt: skip
def test_odd_origins_change_nothing(page, opened, clip, style, headers):
    job = create(opened, clip, style)
    answer = page.post(
        f"/jobs/{job.name}/cancel", json={}, headers={name: value.encode("latin-1") for name, value in headers.items()}
    )
    assert answer.status_code == 403 and "cancelled" not in job.flags()


@pytest.mark.parametrize("headers", [
    {"Authorization": "Bearer \xe9"}, {"Authorization": "Bearer"}, {"Cookie": "fav-0=; ;=; \xe9=\xff"}, {"Host": "["}, {"Host": ""},
])  # fmt: skip
def test_odd_credentials_open_nothing(opened, headers):
    web = Web(opened.layout.root, Access(TOKEN))
    with TestClient(web.app, base_url="http://127.0.0.1", raise_server_exceptions=False) as stranger:
        for path in ("/", "/events", "/api/videos", "/?token=%00", "/?token=%E9&token=x"):
            answer = stranger.get(path, headers={name: value.encode("latin-1") for name, value in headers.items()})
            assert answer.status_code in (403, 421), (path, answer.status_code)


@pytest.mark.parametrize("asked", [
    "bytes=99999999999999999999999-", "bytes=-0", "bytes=5-1", "bytes=0-0,2-3", "bytes=" + "0-1," * 5000, "bytes=a-b", "lines=0-1",
    "bytes=--1", "bytes=\xb2-",
])  # fmt: skip
def test_odd_ranges_are_answered(done, asked):
    client, job = done
    answer = client.get(f"/jobs/{job.name}/film", headers={"Range": asked.encode("latin-1")})
    assert answer.status_code in (200, 206, 416) and len(answer.content) <= film_of(job).stat().st_size


def test_a_length_that_is_no_number_is_refused(done):
    client, _ = done
    for length in ("\xb2", "1" * 30, "-1", "0x10", " "):
        answer = client.post("/api/estimate", content=b"{}", headers={"Content-Length": length.encode("latin-1")})
        assert answer.status_code == 413, (length, answer.status_code)


def test_many_browsers_cost_the_share_one_reader(opened, clip, style):
    job = create(opened, clip, style)
    live = Live(opened, cards, every_s=0.1)
    live.start()

    async def watch(count: int) -> int:
        """Seconds for LOOKS looks, while so many browsers listen; each of which learns of a change."""

        async def browser(ready: asyncio.Event) -> None:
            async for event in live.events():
                told = json.loads(event.decode().removeprefix("data: "))
                ready.set()
                if told["cards"].get(f"job:{job.name}", {}).get("state") == ("paused" if count > 1 else "waiting"):
                    return

        ready = [asyncio.Event() for _ in range(count)]
        browsers = [asyncio.create_task(browser(each)) for each in ready]
        for each in ready:
            await each.wait()
        end, began = live.looks + LOOKS, time.monotonic()
        while live.looks < end:
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
        if count > 1:
            with_flag()
        await asyncio.wait_for(asyncio.gather(*browsers), 60)
        return took

    def with_flag() -> None:
        from fav.pipeline import job_control

        job_control.pause(opened, job.name)

    try:
        assert all(asyncio.run(watch(count)) >= (LOOKS - 2) * live.every_s for count in (1, 40))
    finally:
        live.close()


def test_work_that_takes_its_process_down_fails_alone():
    worker = Worker("tests", timeout_s=60)
    try:
        with pytest.raises(FavError, match="ended unexpectedly"):
            worker.submit(signal.raise_signal, signal.SIGKILL).result(60)
        assert worker.submit(len, "abc").result(60) == 3
        with pytest.raises(FavError, match="ZeroDivisionError"):
            worker.submit(divmod, 1, 0).result(60)
        worker.timeout_s = 0.2
        with pytest.raises(FavError, match="within 0 s"):
            worker.submit(time.sleep, 60).result(60)
        worker.timeout_s = 60
        assert worker.submit(len, "ab").result(60) == 2
    finally:
        worker.close()


def test_the_process_that_paints_gets_ready_once_while_a_video_is_chosen(page, monkeypatch):
    asked = []
    monkeypatch.setattr(page.web.large, "submit", asked.append)
    for _ in range(2):
        assert page.get("/api/videos").status_code == 200
    assert asked == [pictures.prepare]
    pictures.prepare()


def test_a_moment_is_painted_and_comes_from_the_cache_the_second_time(done):
    client, _ = done
    asked = {"video": "clip.mp4", "style": "tiny.safetensors", "at": 0.5, "width": 96}
    first = client.get("/api/trial.jpg", params=asked)
    assert first.status_code == 200 and first.content[:2] == b"\xff\xd8" and float(first.headers["x-seconds"]) > 0
    assert client.get("/api/trial.jpg", params=asked).content == first.content
    for odd in ({"at": "nan"}, {"at": "-1"}, {"style_scale": "99"}, {"style": "../x"}, {"width": "-3"}):
        assert client.get("/api/trial.jpg", params=asked | odd).status_code == 400, odd
    facts = client.get("/api/video", params={"video": "clip.mp4"}).json()
    assert facts["width"] == 96 and facts["frames"] == FRAMES and facts["sound"]


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch, opened):
    import builtins

    from fav.cli.tools import main
    from tests.helpers.commands import call, refused

    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "uvicorn":
            raise ModuleNotFoundError("no", name="uvicorn")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(call(main, "web", opened.layout.root), "fast-artistic-videos[web]")


def test_a_taken_port_is_refused_in_a_line(opened):
    import socket

    from fav.cli.tools import main
    from tests.helpers.commands import call, refused

    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(call(main, "web", opened.layout.root, "--port", taken.getsockname()[1]), "--port")
    refused(call(main, "web", opened.layout.root / "none"), "found nothing")
