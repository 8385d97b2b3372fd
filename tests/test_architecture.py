"""The house's doors: which room may import which. Imports run downhill only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "node.py", ROOT / "coordinator.py", *sorted(ROOT.glob("fav/**/*.py")), *sorted(ROOT.glob("shared/**/*.py"))]
BRIDGES = {"fav/pipeline/plan.py", "fav/pipeline/artifacts.py", "fav/pipeline/evaluation_tasks.py", "fav/pipeline/repair.py", "fav/pipeline/submit.py", "fav/monitor/progress.py", "fav/launch/host_probe.py",
           "fav/report/data.py", "fav/monitor/snapshot.py",
           *(str(path.relative_to(ROOT)) for path in ROOT.glob("fav/cli/*.py"))}  # the rooms that know both sides
WORDS = {"fav/cli/tools.py", "fav/cli/options.py", "fav/pipeline/request.py", "fav/cli/common.py", "fav/model/devices.py", "fav/errors.py",
         "fav/monitor/tui.py", "fav/training/loop.py"}  # they know `shared`'s errors and defaults, no more  # fmt: skip
SMALL = {"shared.errors", "shared.nodes", "shared.terminal", "shared.local"}


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, in full."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            found.add(".".join(filter(None, (base, node.module or ""))))
    return {name for name in found if name.split(".")[0] in ("fav", "shared", "node", "coordinator", "tests")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downhill(path):
    name = str(path.relative_to(ROOT))
    for module in imports(path):
        top = module.split(".")[0]
        assert top not in ("node", "coordinator", "tests"), f"{name} imports {module}"
        if name.startswith("shared/"):
            assert top == "shared", f"{name} imports {module}: the job system knows nothing of video"
        elsewhere = module.startswith("fav.launch")
        if name.startswith("shared/cluster/"):
            assert elsewhere or module in ("shared.errors", "shared.logs"), f"{name} imports {module}: other machines know neither pixels nor claims"
        elif elsewhere:
            assert name.startswith("fav/coordinator/"), f"{name} imports {module}: other machines are the operator's business"
        if name.startswith("fav/") and top == "shared" and name not in BRIDGES:
            assert name in WORDS and module in SMALL, f"{name} imports {module}: only the bridges know the job system"


def test_the_share_is_reached_through_the_one_seam():
    for path in ROOT.glob("shared/**/*.py"):
        if path.name in ("system.py", "share.py", "terminal.py", "local.py"):  # the last two: devices, and this machine
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                forbidden = called in {"os." + name for name in ("open", "link", "rename", "unlink", "mkdir", "stat", "listdir", "utime", "replace")}
                assert not forbidden, f"{path.name}:{node.lineno} calls {called}: go through shared.system"


def test_only_tensors_are_read_from_pickles():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords), path
