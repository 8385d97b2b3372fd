"""One run of the NFS lab: machines with kernels of their own, one directory, one command on each, and what came of it.

Moments are seconds of this machine's clock, which the lab's server shares: what it stamped on files may be compared with them.
"""

import os
import re
import signal
import subprocess
import tarfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

LAB = os.environ.get("FAV_NFS_LAB")
COPY = "tar --format=posix -cf /lab/out/share.tar film"  # times to the nanosecond, links as links
LINE = re.compile(r"\[(node\d+|server|event)[^]]*\] ?(.*)")


@dataclass(frozen=True)
class Line:
    at: float
    who: str  # node1, event, server, or lab
    text: str


@dataclass(frozen=True)
class Run:
    """What came of one run. `codes` are the nodes' exit codes, without those that lost power; `share` is a copy of film/."""

    lines: list[Line]
    codes: dict[int, str]
    share: Path
    up: float  # when the machines were up and the command began
    over: float

    def said(self, words: str, who: str = "") -> list[Line]:
        """Lines that contain these words, of one machine or of all."""
        return [line for line in self.lines if words in line.text and line.who.startswith(who)]

    def told(self) -> str:
        """All lines, for people; seconds after the start of the command."""
        return "\n".join(f"{line.at - self.up:7.1f} {line.who:>6}  {line.text}" for line in self.lines)


class LabError(Exception):
    """The lab itself did not come up, or did not bring back what lay on the export."""


def run(
    command: str,
    out: Path,
    *options: str,
    nodes: int,
    version: str,
    cwd: Path,
    cue: str = "",
    events: tuple[tuple[float, str], ...] = (),
    seconds: int = 900,
) -> Run:
    """Run a shell command on `nodes` machines that mount one export, and bring back its film/. `out` is a new directory.

    Each event (`kill:3`) strikes so many seconds after a line that contains `cue`. LabError where the machines did not come up.
    """
    # An event of the lab strikes at a fixed second, but how fast a machine is at work varies widely: so they all sleep for ever,
    # in a `sleep` of their own, which is ended when their time has come.
    naps = [f"{os.getpid()}{time.monotonic_ns()}{number}" for number in range(len(events))]
    planned = [word for nap, (_, what) in zip(naps, events) for word in ("-e", f"{nap}:{what}")]
    timers = [threading.Timer(after, _wake, [nap]) for nap, (after, _) in zip(naps, events)]
    words = [
        LAB,
        "-k",
        str(nodes),
        "-v",
        version,
        "-t",
        str(seconds),
        "--out",
        str(out),
        "--post",
        COPY,
        *options,
        *planned,
        command,
    ]
    lines, up = [], None
    with subprocess.Popen(
        words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as lab:
        try:
            for text in lab.stdout:
                who, text = match.groups() if (match := LINE.match(text)) else ("lab", text.strip())
                lines.append(Line(time.time(), who, text.strip()))
                if who == "lab" and "client(s) up" in text:
                    up = lines[-1].at
                if cue and cue in text:
                    for timer in timers:
                        timer.start()
        except BaseException:
            lab.send_signal(signal.SIGTERM)  # it takes its machines down itself
            lab.stdout.read()  # and cleans up, if somebody listens to its last words
            raise
        finally:
            for timer in timers:
                timer.cancel()
    over = time.time()
    archive = out / "node0" / "share.tar"
    if lab.returncode == 2 or up is None or not archive.exists():
        told = "\n".join(line.text for line in lines[-20:])
        raise LabError(f"{LAB}: expected a run with machines that come up, got exit code {lab.returncode}:\n{told}")
    with tarfile.open(archive) as file:
        file.extractall(out, filter="data")
    codes = {int(path.parent.name[4:]): path.read_text().strip() for path in out.glob("node*/rc")}
    return Run(lines, codes, out / "film", up, over)


def _wake(nap: str) -> None:
    """End the one process on this machine that sleeps for so many seconds."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{nap}\0".encode():
                os.kill(int(path.parent.name), signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
