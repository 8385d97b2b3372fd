"""The structure of the code: layers of imports, one module that accesses the share, pickles that hold only tensors.

And that of the tests: no test module imports another one, and fixtures are never imported.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from inspect import signature
from pathlib import Path

import pytest

from fav.launch.dask_launcher import DaskExecutor
from fav.launch.executor import Executor
from fav.launch.local_launcher import LocalExecutor
from fav.launch.slurm_launcher import SlurmExecutor
from fav.launch.ssh_launcher import SSHExecutor
from tests.helpers.checkout import ROOT, SOURCES

TESTS = sorted(ROOT.glob("tests/**/*.py"))
parsed = cache(lambda path: ast.parse(path.read_text()))
nodes = cache(lambda path: list(ast.walk(parsed(path))))
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"


def test_imports_keep_the_contracts_of_pyproject():
    run = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_packages_stand_on_levels_without_circles():
    run = subprocess.run([sys.executable, ROOT / "bin" / "structure"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "circle" not in run.stdout.replace("so that no circle is left", "")
    assert "\n0 imports would have to go" in run.stdout
    levels = {line.split()[2]: int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("level")}
    assert levels["shared"] == 1 < levels["fav.video"] < levels["fav.pipeline"] < levels["fav.cli"]


def test_each_package_and_module_says_what_it_is_for():
    for path in SOURCES:
        text = ast.get_docstring(parsed(path))
        assert text and not text.startswith("TODO"), path


@pytest.mark.parametrize("package", sorted({path.parent for path in SOURCES} - {ROOT, ROOT / "fav" / "cli"}))
def test_each_package_names_its_modules(package):
    """`fav.cli` is left out: a command and its module have the same name."""
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert sorted(modules - set(re.findall(r"\w+", text))) == [], f"name these modules in {package / '__init__.py'}"


def test_only_one_module_accesses_the_share():
    for path in ROOT.glob("shared/**/*.py"):
        if path.name in ("filesystem.py", "terminal.py", "local.py"):  # the last two: devices, and this machine
            continue
        for node in nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                forbidden = called in {
                    "os." + name
                    for name in ("open", "link", "rename", "unlink", "mkdir", "stat", "listdir", "utime", "replace")
                }
                assert not forbidden, f"{path.name}:{node.lineno} calls {called}: go through shared.filesystem"


def test_all_errors_have_one_root():
    roots = [
        node.name
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and "Exception" in map(ast.unparse, node.bases)
    ]
    assert roots == ["UserError"]


@pytest.mark.parametrize("executor", [LocalExecutor, SSHExecutor, SlurmExecutor, DaskExecutor])
def test_each_way_of_running_a_job_is_an_executor(executor):
    for name in ("ready", "start", "running", "interrupted"):
        assert list(signature(getattr(executor, name)).parameters) == list(
            signature(getattr(Executor, name)).parameters
        )


def test_only_tensors_are_read_from_pickles():
    for path in SOURCES:
        for node in nodes(path):
            reads = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("load", "loads")
            )
            if reads and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                assert any(
                    word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords
                ), path


def _imported(path: Path) -> list[str]:
    """The full names of all that a module imports, in functions as well."""
    names = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += ["." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names]
    return names


def test_no_module_of_the_tests_imports_a_test_module_or_a_conftest():
    for path in TESTS:
        for name in _imported(path):
            parts = name.split(".")
            wrong = parts[0] in ("tests", "") and any(part.startswith("test_") or part == "conftest" for part in parts)
            assert not wrong, (
                f"{path} imports {name}: what two of them share belongs into tests/helpers or a conftest.py"
            )


def test_fixtures_are_not_imported():
    for path in TESTS:
        text = path.read_text()
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tests":
                lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
                assert not any("noqa" in line for line in lines), (
                    f"{path}:{node.lineno}: fixtures belong into a conftest.py"
                )
            fixture = isinstance(node, ast.FunctionDef) and any(
                "fixture" in ast.unparse(one) for one in node.decorator_list
            )
            assert not (fixture and path.parent.name == "helpers"), (
                f"{path}:{node.lineno}: fixtures belong into a conftest.py"
            )
