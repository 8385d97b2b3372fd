"""The whole way in a real browser, with a real server and a real node: send a video, adjust, start, pause, resume, watch the film.

The film is, byte for byte, that of the command line. Takes a minute: `bash bin/test -n 0 -m slow tests/integration/test_web_browser.py`.
With FAV_AXE=/path/to/axe.min.js, a file of the package axe-core, all pages are also checked for faults that keep people out.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra `web` is not installed")
pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from fav.stylize.blend import blend, transfer_chroma
from fav.web.learning import MARK, MARK_FILE, RECORD
from shared.jobs import find_job
from tests.helpers.browser import chromium
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import make_share
from tests.helpers.training_material import make_painting
from tests.helpers.video_jobs import create, film_of, start_node, work

PATIENCE_S = 120
SIZES = [(1280, 1000), (360, 800)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    words = "--headless=new", "--autoplay-policy=no-user-gesture-required", "--window-size=1280,1000"
    with chromium(tmp_path_factory.mktemp("chromium"), *words, console=True) as driver:
        yield driver


@pytest.fixture
def served(tmp_path, style):
    """A share with a style in it, and the link that `fav web` prints for it."""
    root = tmp_path / "share with 'quotes' and spaces"
    root.mkdir()
    shutil.copy(style, root / "tiny.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "fav", "web", str(root), "--port", str(port)]
    server = subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        link = next(line.split()[1] for line in server.stdout if line.startswith("open "))
        yield root, link
    finally:
        server.send_signal(signal.SIGINT)
        assert "Traceback" not in server.communicate(timeout=30)[0]


def until(condition, what: str):
    """What `condition` returns, as soon as that is something."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


def test_from_a_video_to_the_film(browser, served, clip, style, tmp_path):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    root, link = served
    base = link.partition("/?")[0]
    one = lambda what: browser.find_element(By.CSS_SELECTOR, what)
    js = browser.execute_script
    text = lambda what: one(what).text

    # Locked without the link, open with it, and the token is not left in the address.
    browser.get(base)
    assert "locked" in one("body").text
    browser.get(link)
    assert browser.current_url == f"{base}/" and text("h1") == "Now"

    # Send a video.
    one("a.primary").click()
    one("#upload").send_keys(str(clip))
    until(lambda: js("return !document.getElementById('look').hidden"), "the video is here")
    assert (root / "uploads" / "clip.mp4").read_bytes() == clip.read_bytes()
    assert js("return document.querySelector('[name=video]:checked').value") == "uploads/clip.mp4"

    # Every style on one moment, one of them by keyboard alone.
    tiny = "#styles input[value='tiny.safetensors']"
    until(lambda: browser.find_elements(By.CSS_SELECTOR, tiny), "the styles are listed")
    js(f'document.querySelector("{tiny}").focus()')
    one(tiny).send_keys(Keys.SPACE)
    until(lambda: js(f'return document.querySelector("{tiny}").closest("label").querySelector("img")'), "it is painted")

    # Strength and colors are seen at once, without the network; what is seen is what the film would show.
    pixels = """const c = document.getElementById("canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
                return [c.width, c.height, [...d]];"""

    def seen():
        js("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        width, height, values = js(pixels)
        return cv2.cvtColor(np.array(values, np.uint8).reshape(height, width, 4), cv2.COLOR_RGBA2BGR)

    set_to = lambda name, value: js(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input'))",
        name,
        value,
    )
    painted = seen()
    set_to("strength", 0)
    source = seen()
    assert np.abs(painted.astype(int) - source).mean() > 10
    asked = js("performance.clearResourceTimings(); return 0")
    one("#strength").send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 40)
    began = time.monotonic()
    halfway = seen()
    assert time.monotonic() - began < 3.0 and asked == 0
    assert np.abs(halfway.astype(int) - blend(source, painted, 0.4)).max() <= 1
    one("#colors").click()
    expected = blend(source, transfer_chroma(painted, source), 0.4)
    assert np.abs(seen().astype(int) - expected).max() <= 1
    assert not js("return performance.getEntriesByType('resource').some(e => e.name.includes('trial'))")

    # A mask that is drawn: the style is seen there alone.
    until(lambda: one("#mask-kind").is_displayed(), "the mask")
    choose = lambda what: js(
        "const e = document.getElementById('mask-kind'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))",
        what,
    )
    choose("draw")
    assert np.abs(seen().astype(int) - source).max() <= 1
    canvas = one("#canvas")
    js("arguments[0].scrollIntoView({ block: 'center' })", canvas)
    pen = webdriver.ActionChains(browser).move_to_element(canvas).click_and_hold()
    pen.move_by_offset(0, 40).move_by_offset(0, -80).release().perform()
    drawn, middle = seen().astype(int), source.shape[1] // 2
    assert np.abs(drawn[:, middle] - expected[:, middle]).min() <= 1 and np.abs(drawn[:, :5] - source[:, :5]).max() <= 1
    assert np.abs(drawn[:, middle - 2 : middle + 2] - source[:, middle - 2 : middle + 2]).mean() > 2
    choose("")
    assert np.abs(seen().astype(int) - expected).max() <= 1

    # Start it; no node is there yet. Pause it, start a node, resume.
    until(
        lambda: (
            one("#start").is_enabled() and "--strength 0.4" in js("return document.getElementById('line').textContent")
        ),
        "the line",
    )
    name = text("#sum-name")
    one("#start").click()
    until(lambda: "/films/" in browser.current_url, "the page of the film")
    until(lambda: "waiting" in text(".state"), "it waits")
    job = find_job(make_share(root), name)
    one("[data-act=pause]").click()
    until(lambda: "paused" in text(".state"), "it is paused")
    node = start_node(job.share)
    try:
        browser.get(f"{base}/machines")
        until(lambda: browser.find_elements(By.CSS_SELECTOR, ".node h3"), "the node is seen")
        browser.get(base)
        assert "paused" in text(f"[data-name='{name}'] .state") and not list(job.layout.results.rglob("*.png"))
        one(f"[data-name='{name}'] [data-act=resume]").click()
        until(
            lambda: js(
                "return [...document.querySelectorAll('.pair img')].filter(i => !i.hidden && i.naturalWidth).length == 2"
            ),
            "thumbnails",
        )
        until(lambda: "finished" in text(f"[data-name='{name}'] .state"), "it is finished")
    finally:
        node.terminate()
        node.communicate(timeout=60)

    # The film plays, beside the video.
    one(f"[data-name='{name}'] h3 a").click()
    until(lambda: js("return document.getElementById('video').readyState >= 2"), "the film loads")
    js("const s = document.getElementById('split'); s.value = 50; s.dispatchEvent(new Event('input'))")
    until(
        lambda: js("return document.getElementById('over').readyState >= 2 && !document.getElementById('over').hidden"),
        "both are there",
    )
    one("#play").click()
    until(lambda: js("return document.getElementById('video').currentTime > 0.3"), "it plays")
    js("document.getElementById('video').pause()")
    until(
        lambda: (
            abs(js("return document.getElementById('video').currentTime - document.getElementById('over').currentTime"))
            < 0.05
        ),
        "in step",
    )
    loud = [
        entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and "403" not in entry["message"]
    ]
    assert not loud, loud

    # The report has scripts of its own, and no rights.
    browser.get(f"{base}/jobs/{name}/report")
    assert (
        text("h1")
        and js("return document.querySelectorAll('figure.shown').length") == 1
        and js("return origin") == "null"
    )
    browser.get(f"{base}/new?again={name}")
    until(
        lambda: (
            js("return document.getElementById('strength').value") == "0.4"
            and js("return document.getElementById('colors').checked")
        ),
        "filled in",
    )
    until(
        lambda: js("return document.querySelector('[name=video]:checked')?.value") == "uploads/clip.mp4",
        "the same video",
    )

    # It is that of the command line.
    other = make_share(tmp_path / "other")
    same = create(other, root / "uploads" / "clip.mp4", root / "tiny.safetensors", strength=0.4, preserve_colors=True)
    assert same.name == name and work(same)
    assert film_of(job).read_bytes() == film_of(same).read_bytes()
    got = js("return fetch(arguments[0]).then(a => a.arrayBuffer()).then(b => b.byteLength)", f"/jobs/{name}/film")
    assert got == film_of(same).stat().st_size


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_the_window(browser, served, clip, size, dark):
    root, link = served
    shutil.copy(clip, root / f"{'a-very-long-name-' * 8}.mp4")
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(link)
    for address in ("/", "/new", "/styles", "/machines"):
        browser.get(link.partition("/?")[0] + address)
        time.sleep(0.5)
        js = browser.execute_script
        assert js("return document.documentElement.scrollWidth") <= size[0], address
        assert js("return document.querySelectorAll('h1').length") == 1
        named = """return [...document.querySelectorAll('button, a, input, select, canvas')].filter(e => e.offsetParent &&
                   !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.getAttribute('aria-hidden'))).length"""
        assert js(named) == 0, address
        light = js("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
        assert light is not dark


@pytest.fixture
def furnished(served, clip, style):
    """The share with a finished film, a video, a painting and a training, and the addresses of all its pages."""
    root, link = served
    shutil.copy(clip, root / "clip.mp4")
    make_painting(root / "stripes.png")
    job = create(make_share(root), root / "clip.mp4", root / "tiny.safetensors", frames=4)
    assert work(job)
    training = root / "learning" / "mine"
    training.mkdir(parents=True)
    (training.parent / MARK_FILE).write_bytes(MARK)
    order = {"painting": "stripes.png", "crop": None, "minutes": 30, "on": "elsewhere"}
    (training / RECORD).write_text(json.dumps(order))
    (training / "mine.sheet.png").write_bytes((root / "stripes.png").read_bytes())
    (training / "mine.losses.csv").write_text("iteration,total\n1,9.5\n2,8\n")
    return root, link, ["/", "/new", f"/new?again={job.name}", f"/films/{job.name}", "/machines", "/styles"]


def settled(browser, address: str) -> None:
    """Open a page, choose what opens the rest of it, and wait until it is quiet."""
    browser.get(address)
    js = browser.execute_script
    choose = """for (const [id, value] of [["painting", "stripes.png"], ["mask-kind", "draw"], ["mix", "tiny.safetensors"]]) {
                  const e = document.getElementById(id);
                  if (e) { e.value = value; e.dispatchEvent(new Event("change")); e.dispatchEvent(new Event("input")); } }
                document.querySelector("input[name=video][value='clip.mp4']")?.click();
                for (const e of document.querySelectorAll("details")) e.open = true;"""
    time.sleep(1.5)
    js(choose)
    time.sleep(1.5)


def settle_scheme(browser, dark: bool) -> None:
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


@pytest.mark.skipif("FAV_AXE" not in os.environ, reason="FAV_AXE does not name the file axe.min.js of axe-core")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_fault_on_any_page(browser, furnished, dark):
    _, link, pages = furnished
    settle_scheme(browser, dark)
    browser.get(link)
    serious = []
    for address in pages:
        settled(browser, link.partition("/?")[0] + address)
        browser.execute_script(Path(os.environ["FAV_AXE"]).read_text())
        found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        serious += [
            (address, one["id"], one["impact"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:300])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert found["passes"], address
    assert not serious, serious


def test_every_control_of_every_page_is_reached_by_the_keyboard_and_seen(browser, furnished):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    _, link, pages = furnished
    settle_scheme(browser, False)
    browser.get(link)
    js = browser.execute_script
    # Of a group of radio buttons one is reached; arrow keys move on.
    wanted = """const groups = new Set();
        return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0'], video[controls]")]
          .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.tabIndex >= 0)
          .filter(e => e.type !== "radio" || !groups.has(e.name) && groups.add(e.name))
          .map((e, n) => { e.dataset.seen ??= ""; return e.type === "radio" ? e.name : (e.dataset.n = String(n)); })"""
    visited = """const e = document.activeElement, s = getComputedStyle(e), box = e.getBoundingClientRect();
        const shown = s.outlineStyle !== "none" || s.boxShadow !== "none" || e.closest("label")?.matches(":focus-within");
        return e === document.body ? null : [e.type === "radio" ? e.name : e.dataset.n, Boolean(shown), e.outerHTML.slice(0, 120)]"""
    troubles = []
    for address in pages:
        settled(browser, link.partition("/?")[0] + address)
        expected, found, unseen = set(js(wanted)), set(), []
        js("document.activeElement.blur(); window.scrollTo(0, 0)")
        for _ in range(3 * len(expected) + 20):
            webdriver.ActionChains(browser).send_keys(Keys.TAB).perform()
            told = js(visited)
            if told is None:
                break
            found.add(told[0])
            if not told[1]:
                unseen.append(told[2])
        missed = [
            js("return document.querySelector(`[data-n='${arguments[0]}']`)?.outerHTML.slice(0, 150)", n) or n
            for n in expected - found
        ]
        troubles += [(address, missed, unseen)] if missed or unseen else []
        assert browser.find_elements(By.CSS_SELECTOR, "main h1")
    assert not troubles, troubles
