"""What the tests of a shared directory among other people's files have in common: things in the way, commands, dead nodes."""

import os
import shutil
from pathlib import Path

from click.testing import CliRunner

from shared.control import ControlCommand, send
from shared.membership import Node
from shared.shared_dir import SharedDir
from tests.helpers.logs import without_start
from tests.helpers.strangers import (
    FIFO,
    HEX12,
    HEX16,
    OTHER,
    ROOMS,
    Thing,
    Watched,
    directory,
    file,
    lay,
    link,
    manifest,
)
from tests.helpers.strangers_world import Ticking, World

JOB_ROOMS = ("inputs", "claims", "results", "attempts", "failed")
LOOKS = ("status", "status --json", "nodes", "nodes --json", "report", "preview")
FEW = ("status", "nodes", "preview")
MINE = directory(0o700, mine=file(mode=0o600))
IN_THE_WAY = {"directory": MINE, "empty directory": directory(0o700), "file": file(mode=0o600),
              "empty file": file(b""), "FIFO": FIFO,
              "link": link("HOME/secrets"), "link that leads nowhere": link("HOME/nowhere"),
              "link to ..": link("..")}  # fmt: skip
LINKS = {
    "directory": "HOME/results",
    "empty": "HOME/void",
    "above": "..",
    "itself": "ITSELF",
    "nowhere": "HOME/nowhere",
    "file": "HOME/thesis.tex",
}


def watch(root: Path, *paths: Path) -> Watched:
    return Watched(root.parent, root, list(paths))


def typed(command, *words) -> tuple[int, str]:
    """Exit code and output of a command; a traceback is a failure."""
    result = CliRunner().invoke(command, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{words} ended in a traceback") from result.exception
    return result.exit_code, without_start(result.output)


def refused(outcome: tuple[int, str], *words: str) -> None:
    code, said = outcome
    assert code == 2 and len(said.strip().splitlines()) == 1 and said.startswith("error: "), said
    for word in words:
        assert word in said, said


def hours(root: Path, clock: Ticking) -> World:
    """Let a node make passes for hours; a refusal is none."""
    world = World(root)
    world.clock = clock
    world.hours()
    return world


def swap(path: Path, thing: Thing, home: Path) -> Path:
    """Move a directory out of the share, as somebody does whose disk is full, and put something else in its place."""
    if path.exists():
        shutil.move(path, home / "moved")
    path.parent.mkdir(parents=True, exist_ok=True)
    return lay(link(path.name) if thing.to == "ITSELF" else thing, path, home)


def old_share(root: Path, jobs: tuple[str, ...] = ("film",), without: tuple[str, ...] = ()) -> None:
    """The rooms as they were made when nobody marked them."""
    for room in ROOMS:
        if room not in without:
            (root / room).mkdir(mode=0o775)
    for name in jobs:
        (root / "by-name" / name).mkdir()
        (place := root / "jobs" / f"{name}.{HEX12}").mkdir()
        for room in JOB_ROOMS:
            (place / room).mkdir()
        for path in (root / "by-name" / name / "job.json", place / "job.json"):
            path.write_bytes(manifest(name))
    for path in (root, *root.rglob("*")):
        os.utime(path, ns=(10**18, 10**18))


def die(share: SharedDir) -> tuple[Node, list[Path]]:
    """A node of another machine dies in the midst of making a job; what it leaves."""
    world = World(share.layout.root)
    world.die()
    dead = world.dead[0]
    send(share, dead.identity.incarnation, ControlCommand.DRAIN)
    grave = share.layout.tmp / f"{dead.identity.incarnation}.{HEX16}"
    (grave / "claims").mkdir(parents=True)
    (grave / "job.json").write_bytes(manifest("buried"))
    probe = share.layout.tmp / f"probe.{HEX16}"
    probe.write_bytes(b"Does this directory know hard links?\n")
    (share.layout.notify / f"{OTHER}.000000003").touch()
    rooms = share.layout.tmp, share.layout.nodes, share.layout.notify, share.layout.control, share.layout.jobs
    return dead, [path for room in rooms for path in room.iterdir()]
