"""install.sh on machines that lack something: one line says what was expected, what was found and what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT

FILES = (
    "install.sh",
    "pyproject.toml",
    "requirements.lock",
    "requirements-torch.lock",
)  # nothing of the program itself
OLD = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n'  # stands in for an interpreter that is too old
WITHOUT_VENV = (
    f'#!/bin/sh\ncase "$2" in \'import venv\'*) exit 1;; esac\nexec {sys.executable} "$@"\n'  # as Debian's python3
)


def install(place: Path, python: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
    for name in FILES:
        shutil.copy(ROOT / name, place / name)
    return subprocess.run(
        ["bash", "install.sh", *words],
        cwd=place,
        env=os.environ | {"PYTHON": python} | environment,
        capture_output=True,
        text=True,
    )


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_python_that_is_too_old_is_refused_in_one_line(tmp_path):
    old = script(tmp_path / "python3", OLD)
    done = install(tmp_path, old)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert f"expected Python 3.11 or newer, found Python 3.9.2 ({old})" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all_is_one_line(tmp_path):
    done = install(tmp_path, str(tmp_path / "none"))
    assert done.returncode == 1 and "expected Python 3.11 or newer, found none" in done.stderr


def test_python_without_venv_is_refused_in_one_line(tmp_path):
    done = install(tmp_path, script(tmp_path / "python3", WITHOUT_VENV))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "expected the modules venv and ensurepip" in done.stderr and "apt install python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_help_and_an_unknown_word_show_the_usage_and_install_nothing(tmp_path):
    shown = install(tmp_path, sys.executable, "--help")
    assert shown.returncode == 0 and "bash install.sh --dev" in shown.stdout and shown.stderr == ""
    refused = install(tmp_path, sys.executable, "--all")
    assert refused.returncode == 2 and refused.stdout == "" and shown.stdout in refused.stderr
    assert refused.stderr.startswith("install.sh: expected --dev or nothing, got --all\n")
    assert not (tmp_path / ".venv").exists()


def test_what_the_container_copies_first_is_there():
    """COPY of the Containerfile names the files that install.sh needs, and the build leaves out what git ignores."""
    copied = next(line for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("COPY install"))
    names = {path.name for pattern in copied.split()[1:-1] for path in ROOT.glob(pattern)}
    assert set(FILES) <= names
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "share"} <= set(left_out)


@pytest.mark.slow
def test_without_a_network_the_last_line_says_what_to_do(tmp_path):
    done = install(tmp_path, sys.executable, PIP_NO_INDEX="1")
    assert done.returncode == 1 and "PIP_INDEX_URL" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / ".venv").glob("installed-*"))  # so that the next run tries again
