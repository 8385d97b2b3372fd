"""A preview now and then, while a job is followed."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from shared.jobs import Job
from shared.sources import ROOT

from ..spec import FilmSpec
from .report import preview_path


@contextmanager
def previews(job: Job, minutes: float | None) -> Iterator[None]:
    """Every so many minutes make the preview of the job anew, in a process of its own; None: never.

    One that takes longer than that delays the next. What went wrong with the last one is told at the end.
    """
    if minutes is None:
        yield
        return
    command = [sys.executable, str(ROOT / "coordinator.py"), "preview", str(job.share.layout.root), job.name]
    over, wrong = threading.Event(), ""

    def run() -> None:
        nonlocal wrong
        while not over.wait(minutes * 60):
            made = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                    text=True, start_new_session=True)  # Ctrl-C is for us
            while made.poll() is None and not over.wait(0.2):
                pass
            if over.is_set():
                made.send_signal(signal.SIGINT)  # so it takes its unfinished file away
            wrong = made.communicate()[1].strip() if not over.is_set() else wrong

    film = preview_path(job.share.layout.root, FilmSpec.from_json(job.manifest.spec))
    click.echo(f"every {minutes:g} min, what is done so far: {film}")
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if wrong:
            click.echo(f"the last preview: {wrong.splitlines()[-1]}", err=True)
