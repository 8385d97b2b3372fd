"""`fav web` with many jobs and nodes: what a look at the share takes, and how soon the page is there, without and with a browser.

python benchmarks/web.py [--jobs 200] [--nodes 100]
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.pipeline.job_files import open_share
from fav.web.app import Web
from fav.web.security import Access
from shared.heartbeat import temporary_member
from shared.jobs import create_job
from tests.helpers.job_system import join
from tests.helpers.video_jobs import create, make_clip, make_style, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=100)
    given = parser.parse_args()
    print(f"making {given.jobs} jobs and {given.nodes} nodes …", file=sys.stderr)
    root = Path(tempfile.mkdtemp())
    try:
        share = open_share(root)
        first = create(share, make_clip(root / "clip.mp4"), make_style(root / "tiny.safetensors"), name="job-000")
        work(first)
        with temporary_member(share) as node:
            for number in range(1, given.jobs):
                name = f"job-{number:03d}"
                create_job(node, name, 60, lambda _: {**first.manifest.spec, "out": f"{name}.mp4"})
        for number in range(given.nodes):
            join(share, f"host{number}")
        measure(root)
    finally:
        shutil.rmtree(root)


def measure(root: Path) -> None:
    """Print a line for each look at the share and each page, in seconds of the clock and of the processor."""
    web = Web(root, Access("token"))
    client = TestClient(web.app, base_url="http://127.0.0.1")
    client.cookies.set(web.access.cookie, web.access.session)
    for what in ("first look", "look", "look"):
        timed(what, web.live._reader.read)
    with client:
        for what in ("first page", "page"):
            timed(what, lambda: client.get("/"))
        while not web.live.looks:
            web.live.cards(1.0)
        timed("page, all known", lambda: client.get("/"))
        print(f"{len(client.get('/').content) / 1024:.0f} KiB are sent")


def timed(what: str, call: Callable[[], object]) -> None:
    clock, processor = time.monotonic(), time.process_time()
    call()
    print(f"{what}: {time.monotonic() - clock:.2f} s, {time.process_time() - processor:.2f} s of the processor")


if __name__ == "__main__":
    main()
