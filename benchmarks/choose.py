"""How soon an artist sees something: pictures of `fav try`, styles and effects on the page of `fav web` in a real Chromium.

python benchmarks/choose.py VIDEO [--browser]
"""

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.helpers.browser import chromium

PATIENCE_S = 600
TIMES = 20  # that an effect is measured
# Seconds of the page's clock from an input until the next frame is drawn, which has its effect.
EFFECT = """const [id, value, done] = arguments, e = document.getElementById(id), c = document.getElementById("canvas");
            const sum = () => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.reduce((a, b) => (a * 31 + b) | 0, 0);
            const before = sum(), began = performance.now();
            if (id === "canvas") {
              const box = c.getBoundingClientRect(), at = {clientX: box.left + value * box.width, clientY: box.top + box.height / 2};
              for (const kind of ["pointerdown", "pointermove", "pointerup"])
                c.dispatchEvent(new PointerEvent(kind, {bubbles: true, buttons: 1, pointerId: 1, isPrimary: true, ...at}));
            } else {
              if (e.type === "checkbox") e.checked = value; else e.value = value;
              e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change"));
            }
            requestAnimationFrame(() => setTimeout(() => {
              const took = performance.now() - began; done([took / 1000, sum() !== before]); }));"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--browser", action="store_true", help="also measure the page")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    try:
        try_styles(given.video.resolve(), place / "sheet")
        if given.browser:
            page(given.video.resolve(), place)
    finally:
        shutil.rmtree(place)


def try_styles(video: Path, out: Path) -> None:
    """Print when the pictures of `fav try` are there, by the clock and by the process's own time."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "fav", "try", str(video), "--out", str(out)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    seen = cpu = 0
    while process.poll() is None:
        number = len(list(out.glob("[0-9]*.jpg")))
        cpu = _processor_s(process.pid) or cpu
        if number != seen:
            if seen == 0:
                print(f"fav try: first picture after {time.monotonic() - began:.1f} s, {cpu:.1f} s of the processor")
            seen = number
        time.sleep(0.02)
    print(f"fav try: {seen} pictures after {time.monotonic() - began:.1f} s, {cpu:.1f} s of the processor")


def _processor_s(pid: int) -> float:
    """Seconds of the processor that a process took; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def page(video: Path, place: Path) -> None:
    """Print when the page has every style on a moment, and how soon the effect of controls is seen."""
    root = place / "share"
    root.mkdir()
    shutil.copy(video, root / f"clip{video.suffix}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "fav", "web", str(root), "--port", str(port)]
    server = subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert server.stdout is not None
        link = next(line.split()[1] for line in server.stdout if line.startswith("open "))
        with chromium(place / "profile", "--headless=new", "--window-size=1280,1000") as browser:
            browser.get(link)
            browser.get(link.partition("/?")[0] + "/new")
            js = browser.execute_script
            _until(lambda: js("return document.querySelector('#videos input')"), 0)
            began = time.monotonic()
            js("document.querySelector('#videos input').click()")
            painted = lambda: js("return document.querySelectorAll('#styles .shot img').length")
            _until(painted, began)
            print(f"page: first style after {time.monotonic() - began:.1f} s")
            styles = js("return document.querySelectorAll('#styles input').length")
            _until(lambda: painted() == styles, began)
            print(f"page: {styles} styles after {time.monotonic() - began:.1f} s")
            for what, control, values in (
                ("strength", "strength", [0.2, 0.8]),
                ("colors", "colors", [True, False]),
                ("mask", "canvas", [number / TIMES + 0.02 for number in range(TIMES)]),
            ):
                if what == "mask":
                    js(
                        "const e = document.getElementById('mask-kind'); e.value = 'draw'; e.dispatchEvent(new Event('change'))"
                    )
                    time.sleep(1)
                found = [
                    browser.execute_async_script(EFFECT, control, values[number % len(values)])
                    for number in range(TIMES)
                ]
                seconds, changed = zip(*found)
                size = "{}x{}".format(*js("const c = document.getElementById('canvas'); return [c.width, c.height]"))
                print(f"page: {what} on {size}: seen after {1000 * statistics.median(seconds):.0f} ms, at most "
                      f"{1000 * max(seconds):.0f}; {sum(changed)} of {TIMES} changed the picture")  # fmt: skip
    finally:
        server.terminate()
        server.communicate(timeout=30)


def _until(condition, began: float) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the page had nothing after {PATIENCE_S} s")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
