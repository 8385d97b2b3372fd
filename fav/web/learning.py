"""Trainings that the page starts. Each is the command `fav train`, with its own directory in the shared directory.

The directory has everything about a training: its request, log, contact sheets, losses and state. So a server that starts
later shows it, and the same command continues it. A training runs on the machine of the server, and ends with the server.
"""

import csv
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fav.errors import FavError, sanitize
from fav.launch.program import INSTALLED
from fav.pipeline.job_files import open_share
from fav.training.outputs import OutputPaths
from fav.web import places
from shared.command_names import CHECKOUT
from shared.source_hash import ROOT

NAME = "learning"  # the directory of trainings
MARK_FILE = ".made-by-fav-web"
MARK = b"Styles that `fav web` learns, each with its sheets and state.\n"
RECORD, LOG, LOCK = "training.json", "train.log", "lock"
NAMED = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
MINUTES = (0.02, 10_000.0)
LOG_TAIL = 4 << 10  # bytes
FOR_TERMINALS = "to learn on, type"  # begins a line that the page leaves out, because it has a button instead
POINTS = 120  # maximum number of points of a plot
MOST = 50  # trainings that are shown
GRACE_S = 20.0  # time for a training to write its state
LOCK_TRIES = 5
PROGRAM = [sys.executable, "-m", "fav"] if CHECKOUT else INSTALLED


@dataclass(frozen=True)
class TrainingForm:
    """What a user asks for.

    Attributes:
        name: of the style.
        painting: its key (`fav.web.places`).
        crop: x, y, width and height of the part to learn from, in its pixels; None: all of it.
        minutes: of training, summed over all runs.
    """

    name: str
    painting: str
    crop: tuple[int, int, int, int] | None
    minutes: float

    @classmethod
    def of(cls, fields: dict) -> "TrainingForm":
        """Parse the fields of a page. Raises FavError if they are not valid."""
        name, painting, crop, minutes = (fields.get(key) for key in ("name", "painting", "crop", "minutes"))
        if not isinstance(name, str) or not NAMED.fullmatch(name):
            raise FavError(
                "name: expected 1 to 60 small letters, digits, hyphens or underscores, a letter or digit first"
            )
        if not isinstance(painting, str):
            raise FavError("painting: expected a picture of the shared directory")
        if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not MINUTES[0] <= minutes <= MINUTES[1]:
            raise FavError(f"minutes: expected a number from {MINUTES[0]:g} to {MINUTES[1]:g}")
        if crop is not None and not (
            isinstance(crop, list) and len(crop) == 4 and all(type(one) is int and 0 <= one <= 1 << 20 for one in crop)
        ):
            raise FavError("crop: expected four whole numbers: x, y, width and height in pixels of the painting")
        return cls(name, painting, tuple(crop) if crop else None, float(minutes))

    def to_json(self) -> dict:
        """The fields that `of` reads."""
        crop = list(self.crop) if self.crop else None
        return {"name": self.name, "painting": self.painting, "crop": crop, "minutes": self.minutes}


class Learning:
    """The trainings of one shared directory.

    Args:
        root: the shared directory.
        words: further arguments of each command, such as another loss network.
    """

    def __init__(self, root: Path, words: tuple[str, ...] = ()):
        self.root, self.words = root, words
        self._running: dict[str, subprocess.Popen] = {}

    # ---- actions
    def begin(self, form: TrainingForm) -> str:
        """Start a training; return the command. Raises FavError if its name is taken, or another one runs here."""
        places.file_of(self.root, form.painting, "picture")
        self._check_idle()
        directory = self._make_directory() / form.name
        try:
            os.mkdir(directory)
        except FileExistsError:
            raise FavError(f"{form.name}: expected a new name, but a style of that name is or was learned") from None
        return self._start(directory, form)

    def resume(self, name: str, minutes: float) -> str:
        """Continue a training, up to `minutes` in total. Raises FavError as `begin`, or if there is no such training."""
        directory, form, _ = self._known(name)
        form = TrainingForm.of({**form.to_json(), "minutes": minutes})
        self._check_idle()
        return self._start(directory, form)

    def stop(self, name: str) -> str:
        """Ask a training to write its state and end. Raises FavError if it does not run here."""
        process = self._running.get(name)
        if process is None or process.poll() is not None:
            raise FavError(f"{sanitize(name)}: expected a training that runs on this machine, got none")
        process.send_signal(signal.SIGTERM)
        return f"{name}: it writes its state and ends; it can be continued"

    def close(self) -> None:
        """End all trainings. Their states are written first."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        for process in self._running.values():
            try:
                process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # ---- state
    def all(self) -> list[dict[str, Any]]:
        """The trainings, the latest first: `name`, whether it is `running`, its last line of output (`words`), and so on."""
        place = self._directory()
        if place is None:
            return []
        found = []
        with suppress(OSError):
            for directory in place.iterdir():
                with suppress(OSError, FavError):
                    found.append((directory.stat().st_mtime, self._facts(directory.name)))
        return [facts for _, facts in sorted(found, key=lambda one: -one[0])[:MOST]]

    def picture(self, name: str, which: str) -> Path:
        """The file of a training's `sheet` or `losses`. Raises FavError if it is not there."""
        outputs = _outputs(self._known(name)[0])
        path = {"sheet": outputs.sheet, "losses": outputs.plot}.get(which)
        if path is None or not path.is_file():
            raise FavError(f"{name}: there is no such picture yet")
        return path

    # ---- helpers
    def _facts(self, name: str) -> dict[str, Any]:
        directory, form, _ = self._known(name)
        outputs, running = _outputs(directory), self._is_running(directory)
        losses = _losses(outputs.table)
        return {
            "name": name,
            "running": running,
            "here": name in self._running and self._running[name].poll() is None,
            "painting": sanitize(form.painting, 200),
            "minutes": form.minutes,
            "iteration": len(losses),
            "losses": losses[:: max(len(losses) // POINTS, 1)],
            "words": _last_line(directory / LOG),
            "sheet": _changed(outputs.sheet),
            "plot": _changed(outputs.plot),
            "style": outputs.out.relative_to(self.root).as_posix() if outputs.out.is_file() else "",
        }

    def _known(self, name: str) -> tuple[Path, TrainingForm, str]:
        """The directory of a training, its form, and its host. Raises FavError if there is no such training.

        Others may write in the shared directory, too. So the record is checked as if a browser had sent it.
        """
        place = self._directory()
        refusal = FavError(f"{sanitize(repr(name))}: there is no such training")
        if place is None or not NAMED.fullmatch(name) or (place / name).is_symlink():
            raise refusal
        try:
            with open(places.open_inside(self.root, place / name / RECORD), "rb") as file:
                record = json.loads(file.read(1 << 16))
            return place / name, TrainingForm.of({**record, "name": name}), sanitize(str(record.get("on", "?")), 80)
        except (FavError, ValueError, TypeError, AttributeError, OSError):
            raise refusal from None

    def _directory(self) -> Path | None:
        """The directory of trainings, which has our marker file; None if there is none."""
        place = self.root / NAME
        try:
            return place if not place.is_symlink() and (place / MARK_FILE).read_bytes() == MARK else None
        except OSError:
            return None

    def _make_directory(self) -> Path:
        """The directory of trainings; it is created if necessary. Raises FavError if another directory has its name."""
        place, share = self.root / NAME, open_share(self.root, new=False)
        if not os.path.lexists(place):
            share.system.make_dirs(place)
            with suppress(FileExistsError):
                share.system.write_new(place / MARK_FILE, MARK)
        if self._directory() is None:
            raise FavError(
                f"{place}: expected a directory for styles that are learned, got another one of that name; move it away"
            )
        return place

    def _check_idle(self) -> None:
        running = [name for name, process in self._running.items() if process.poll() is None]
        if running:
            raise FavError(f"{running[0]} is being learned on this machine; stop it first, or wait until it is done")

    def _start(self, directory: Path, form: TrainingForm) -> str:
        """Run the command of a form. The process holds a lock, so that it never runs twice."""
        painting = places.file_of(self.root, form.painting, "picture")
        words = ["train", str(painting), str(_outputs(directory).out), "--minutes", f"{form.minutes:g}", *self.words]
        if form.crop:
            words += ["--style-crop", ",".join(map(str, form.crop))]
        lock = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if not _locked(lock):
                raise FavError(f"{directory.name}: it is being learned already, on {self._known(directory.name)[2]}")
            _write_record(directory, {**form.to_json(), "on": socket.gethostname()})
            log = os.open(directory / LOG, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                self._running[directory.name] = subprocess.Popen(
                    [*PROGRAM, *words],
                    cwd=ROOT if CHECKOUT else None,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            finally:
                os.close(log)
        finally:
            os.close(lock)
        return shlex.join(["fav", *words])

    def _is_running(self, directory: Path) -> bool:
        """Whether a process holds the lock of a training, on this machine or, if the file system shares locks, on another one."""
        try:
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except OSError:
            return True
        finally:
            os.close(lock)


def _locked(lock: int) -> bool:
    """Try to take a lock; return whether it was taken. `_is_running` may hold it for a moment, so there are several tries."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.05)
    return False


def _write_record(directory: Path, record: dict) -> None:
    draft = directory / f".{RECORD}.{os.getpid()}"
    draft.write_text(json.dumps(record))
    os.replace(draft, directory / RECORD)


def _outputs(directory: Path) -> OutputPaths:
    return OutputPaths(directory / f"{directory.name}.safetensors")


def _losses(table: Path) -> list[float]:
    """The total loss of each iteration; empty if there is no table yet."""
    try:
        with open(table, newline="") as file:
            return [float(row["total"]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _last_line(log: Path) -> str:
    """The last line of a log that is meant for the page."""
    try:
        with open(log, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            lines = re.split(r"[\r\n]+", file.read().decode(errors="replace"))
    except OSError:
        return ""
    shown = (line for line in reversed(lines) if line.strip() and not line.startswith(FOR_TERMINALS))
    return next((sanitize(line, 400) for line in shown), "")


def _changed(path: Path) -> int:
    """The time at which a file was written, in milliseconds; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
