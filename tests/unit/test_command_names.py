"""Messages name a command as the user typed the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.command_names import ENTRY, command, export_entry
from tests.helpers.checkout import ROOT


@pytest.mark.parametrize(
    "started, inherited, status, node",
    [
        ("coordinator.py", None, "coordinator.py status", "node.py"),
        ("/opt/av/node.py", None, "coordinator.py status", "node.py"),
        ("/usr/bin/fav", None, "fav status", "fav node"),
        ("/site-packages/fav/__main__.py", None, "python -m fav status", "python -m fav node"),
        ("/site-packages/fav/__main__.py", "fav", "fav status", "fav node"),  # a node that `fav run` started
        ("node.py", "fav", "fav status", "fav node"),
        ("/usr/bin/pytest", None, "coordinator.py status", "node.py"),  # these sources are a checkout
    ],
)
def test_a_command_is_named_as_the_user_started_the_program(monkeypatch, started, inherited, status, node):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.delenv(ENTRY, raising=False)
    if inherited:
        monkeypatch.setenv(ENTRY, inherited)
    assert (command("status"), command("node")) == (status, node)
    export_entry()
    assert os.environ[ENTRY] == status.removesuffix(" status")
    os.environ.pop(ENTRY)


def test_program_names_itself_in_its_errors(tmp_path):
    script = tmp_path / "fav"
    script.write_text("from fav.cli.tools import main\nmain()\n")
    environment = {name: value for name, value in os.environ.items() if name not in (ENTRY, "FAV_SHARE")}
    environment["PYTHONPATH"] = str(ROOT)
    for line, name in (
        ([script], "fav submit"),
        ([ROOT / "coordinator.py"], "coordinator.py submit"),
        (["-m", "fav"], "python -m fav submit"),
    ):
        done = subprocess.run(
            [sys.executable, *map(str, line), "status", str(tmp_path)], env=environment, text=True, capture_output=True
        )
        assert done.returncode == 2 and f"{name} makes a new one" in done.stderr, done.stderr
        assert Path(tmp_path).is_dir() and len(done.stderr.splitlines()) == 1


FILMS = {"numpy", "cv2", "av", "PIL"}  # libraries that read films
NETWORKS = {"torch", "matplotlib"}


@pytest.mark.parametrize(
    "modules, spared",
    [
        # all commands, and a node's supervisor
        ("coordinator, node, fav.cli.tools", FILMS | NETWORKS | {"textual"}),
        # those that look at films
        ("fav.monitor.pace, fav.pipeline.progress, fav.pipeline.repair, fav.report.data", NETWORKS | {"scenedetect"}),
    ],
)
def test_commands_import_only_the_libraries_that_they_need(modules, spared):
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "msgspec" in imported and not imported & spared
