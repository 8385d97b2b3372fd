"""Previews that `run` makes while it follows a job: whatever ends one, and whenever, no unfinished file stays."""

import os
import random
import signal
import sys
import threading
import time

import pytest

from fav.cli import preview
from fav.cli.outputs import mark_of
from fav.errors import FavError
from fav.util.atomic import has_mark
from shared.terminal import ended_by_signals
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import create

WRITES = """
import sys, time
with open(sys.argv[4], "wb", buffering=0) as file:
    for number in range(100):
        file.write(b"film")
        time.sleep(0.002)
    file.write(b"MARK")
"""
DEAF = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('x' * 100_000, file=__import__('sys').stderr)"
    + WRITES
)
ENDLESS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + WRITES.replace("range(100)", "iter(int, 1)")
KILLED = WRITES.replace('    file.write(b"MARK")', "    import os; os.kill(os.getpid(), 9)")
FAILS = WRITES.replace('    file.write(b"MARK")', "    sys.exit('no room')")


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture
def job(share, clip, style):
    return create(share, clip, style, name="film")


@pytest.fixture
def program(job, monkeypatch):
    """Another program in the place of `coordinator.py preview`."""

    def put(source: str) -> None:
        source = source.replace("MARK", mark_of("preview", job))
        monkeypatch.setattr(preview, "COMMAND", [sys.executable, "-S", "-E", "-c", source])

    return put


def there(job) -> list[str]:
    """The files beside the film; the rooms of the share are none."""
    return sorted(path.name for path in job.share.layout.root.iterdir() if path.is_file())


def make(job, after: float | None = None) -> None:
    over = threading.Event()
    timer = threading.Timer(after or 60, over.set)
    timer.start()
    try:
        preview.make(job, job.share.layout.root / "film.preview.mp4", over)
    finally:
        timer.cancel()


@pytest.mark.parametrize("source", [WRITES, DEAF], ids=["as it is", "one that does not listen and says much"])
def test_preview_takes_its_name_when_it_is_whole(job, program, source):
    before = there(job)
    program(source)
    for _ in range(2):
        make(job)
        assert there(job) == sorted([*before, "film.preview.mp4"])
    assert has_mark(job.share.layout.root / "film.preview.mp4", mark_of("preview", job))


def test_preview_that_is_ended_at_any_moment_leaves_nothing(job, program):
    before, rng = there(job), random.Random(1)
    program(WRITES)
    for _ in range(12):
        try:
            make(job, after=rng.uniform(0.001, 0.3))
        except preview.PreviewError:
            assert there(job) == before
        else:
            (job.share.layout.root / "film.preview.mp4").unlink()


@pytest.mark.parametrize("source, said", [(KILLED, "exit code -9"), (FAILS, "no room")], ids=["killed", "fails"])
def test_preview_that_dies_leaves_nothing_and_the_last_one(job, program, source, said):
    program(WRITES)
    make(job)
    before, film = there(job), (job.share.layout.root / "film.preview.mp4").read_bytes()
    program(source)
    with pytest.raises(preview.PreviewError) as why:
        make(job)
    assert said in str(why.value) and there(job) == before
    assert (job.share.layout.root / "film.preview.mp4").read_bytes() == film


def test_preview_that_does_not_end_when_it_is_asked_is_killed(job, program, monkeypatch):
    monkeypatch.setattr(preview, "GRACE_S", 0.3)
    before, began = there(job), time.monotonic()
    program(ENDLESS)
    with pytest.raises(preview.PreviewError):
        make(job, after=0.5)
    assert there(job) == before and time.monotonic() - began < 5


def test_file_of_another_that_has_the_name_of_the_preview_is_left_alone(job, program):
    (path := job.share.layout.root / "film.preview.mp4").write_bytes(b"precious")
    before = there(job)
    program(WRITES)
    with pytest.raises(FavError, match="film.preview.mp4: expected a free name for a file"):
        make(job)
    assert path.read_bytes() == b"precious" and there(job) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_to_run_in_the_midst_of_a_preview_leaves_nothing(job, program, number):
    if signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
        pytest.skip("somebody handles it here, or it is ignored")
    before = there(job)
    program(ENDLESS.replace("signal.SIG_IGN", "signal.SIG_DFL"))
    with pytest.raises(KeyboardInterrupt), ended_by_signals(), preview.previews(job, 1e-6):
        while len(there(job)) == len(before):
            time.sleep(0.01)
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert there(job) == before
