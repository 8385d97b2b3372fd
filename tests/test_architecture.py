"""The structure of the code: imports run downhill, the share is reached through one seam, pickles hold only tensors."""

import ast
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from fav.launch.dask_launcher import DaskExecutor
from fav.launch.executor import Executor
from fav.launch.local_launcher import LocalExecutor
from fav.launch.slurm_launcher import SlurmExecutor
from fav.launch.ssh_launcher import SSHExecutor

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    ROOT / "node.py",
    ROOT / "coordinator.py",
    *sorted(ROOT.glob("fav/**/*.py")),
    *sorted(ROOT.glob("shared/**/*.py")),
]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"


def test_imports_keep_the_contracts_of_pyproject():
    run = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_package_and_module_says_what_it_is_for():
    for path in SOURCES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text and not text.startswith("TODO"), path


def test_the_share_is_reached_through_the_one_seam():
    for path in ROOT.glob("shared/**/*.py"):
        if path.name in ("system.py", "share.py", "terminal.py", "local.py"):  # the last two: devices, and this machine
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                forbidden = called in {"os." + name for name in ("open", "link", "rename", "unlink", "mkdir", "stat", "listdir", "utime", "replace")}
                assert not forbidden, f"{path.name}:{node.lineno} calls {called}: go through shared.filesystem"


def test_all_errors_have_one_root():
    roots = [node.name for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.ClassDef) and "Exception" in map(ast.unparse, node.bases)]
    assert roots == ["UserError"]


@pytest.mark.parametrize("executor", [LocalExecutor, SSHExecutor, SlurmExecutor, DaskExecutor])
def test_each_way_of_running_a_job_is_an_executor(executor):
    for name in ("ready", "start", "running", "interrupted"):
        assert list(signature(getattr(executor, name)).parameters) == list(signature(getattr(Executor, name)).parameters)


def test_only_tensors_are_read_from_pickles():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords), path
