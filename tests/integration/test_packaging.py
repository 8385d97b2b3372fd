"""What people pick up: the wheel and what is in it, the command `fav` outside of a checkout, and SHARED left out."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import coordinator
import fav
from fav.cli.share_argument import with_share
from fav.cli.tools import main
from fav.model.bundled_styles import names, style_file
from shared.jobs import all_jobs
from shared.source_hash import version
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import probe

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INPUTS = ("fav", "shared", "styles", "pyproject.toml", "README.md", "LICENSE")  # of a build


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the sources, built of a copy: setuptools leaves files beside what it builds."""
    place = tmp_path_factory.mktemp("build")
    for name in INPUTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, place / name)
    words = ["build", "--wheel", "--no-isolation", "--outdir", str(place / "out"), str(place)]
    done = subprocess.run([sys.executable, "-m", *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (place / "out").iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A directory in which the wheel alone is installed."""
    target = tmp_path_factory.mktemp("installed")
    words = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", *words], check=True)
    return target


@pytest.fixture
def outside(installed, tmp_path):
    """Call the installed `fav` from a directory that is no checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "FAV_SHARE"}
    environment["PYTHONPATH"] = str(installed)

    def call(*words: object, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, str(installed / "bin" / "fav"), *map(str, words)],
            cwd=tmp_path,
            text=True,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return call


# ---- the wheel
def test_wheel_has_the_sources_the_styles_and_the_licences_and_nothing_at_the_top_but_fav(wheel):
    assert wheel.name.endswith(f"-{fav.__version__}-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        held, metadata = set(file.namelist()), ".dist-info/"
        (entry_points,) = [file.read(name).decode() for name in held if name.endswith("entry_points.txt")]
    shipped = ("fav/**/*.py", "fav/**/*.html", "fav/web/static/*")
    sources = {path.relative_to(ROOT).as_posix() for pattern in shipped for path in ROOT.glob(pattern)}
    sources |= {f"fav/_private/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("shared/**/*.py")}
    styles = {f"fav/styles/{path.name}" for path in ROOT.glob("styles/*.safetensors")}
    assert len(styles) >= 5 and len(sources) > 150 and "fav/report/page.html" in sources
    others = {name for name in held if metadata not in name}
    typed = {"fav/py.typed", "fav/_private/shared/py.typed"}
    assert others == sources | styles | typed | {"fav/styles/README.md", "fav/styles/LICENSE"}
    assert "fav = fav.cli.tools:main" in entry_points
    licences = {name.split("licenses/")[1] for name in held if "/licenses/" in name}
    assert licences == {"LICENSE", "styles/LICENSE"}


def test_a_requirement_of_the_program_is_in_its_lock_with_hashes():
    locks = [(ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock")]
    extras = PROJECT["project"]["optional-dependencies"]
    for lock, needed in zip(
        locks, ([*extras["openvino"], *extras["web"]], [*extras["dev"], *extras["dask"], *extras["web"]])
    ):
        pinned = dict(re.findall(r"^([a-z0-9-]+)==.* \\\n    --hash=sha256:([0-9a-f]{64})", lock, re.M))
        wanted = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in (*PROJECT["project"]["dependencies"], *needed)}
        assert wanted - {"torch", "fast-artistic-videos"} <= set(pinned), wanted - set(pinned)
        assert len(re.findall(r"^\S+==", lock, re.M)) == len(pinned)
        assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
    assert re.search(r"^torch==[0-9.]+$", (ROOT / "requirements-torch.lock").read_text(), re.M)


def test_citation_names_the_version_and_both_works():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {fav.__version__}\n" in text
    assert "Dosovitskiy" in text and "Galatic" in text


# ---- outside of a checkout
def test_installed_fav_tells_its_version_and_all_commands(outside, installed):
    assert outside("--version") == f"fav {fav.__version__} (sources {version()})\n"  # the same sources as here
    told = outside("--help")
    for name in main.commands:
        assert f"\n  {name} " in told, name
    assert not (installed / "shared").exists()


@pytest.mark.slow
def test_installed_fav_makes_a_film_of_its_own_sample_with_a_style_that_ships(outside, tmp_path):
    assert "done: clip.mp4" in outside("sample", "clip.mp4")
    (share := tmp_path / "share").mkdir()
    told = outside(
        "run",
        "clip.mp4",
        "wave",
        "--frames",
        6,
        "--width",
        64,
        "--name",
        "film",
        "--out",
        "film.mp4",
        FAV_SHARE=str(share),
    )
    assert f"done: {share / 'film.mp4'}" in told
    assert probe(share / "film.mp4", "stream=width,nb_read_frames") == "64,6"
    assert "film: finished" in outside("status", "film", FAV_SHARE=str(share))
    assert f"done: {share / 'film.mp4'}" in outside("node", share, "--job", "film")
    assert "done: seen.mp4" in outside("preview", share, "film", "--out", "seen.mp4")


def test_completion_is_there_for_each_shell(outside):
    for shell in ("bash", "zsh", "fish"):
        assert "_FAV_COMPLETE" in outside(_FAV_COMPLETE=f"{shell}_source")
    found = outside(_FAV_COMPLETE="bash_complete", COMP_WORDS="fav st", COMP_CWORD="1")
    assert set(found.split()) == {f"plain,{name}" for name in main.commands if name.startswith("st")}


# ---- one command for all
def test_fav_has_every_command_of_the_coordinator():
    assert coordinator.main.commands.items() <= main.commands.items()
    assert {"node", "check-fs", "stylize", "train", "evaluate", "flow", "convert", "sample"} <= set(main.commands)


# ---- styles by their names
def test_style_that_ships_is_meant_by_its_name_unless_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(names()) == {path.stem for path in ROOT.glob("styles/*.safetensors")}
    for word in ("wave", "wave.safetensors"):
        assert style_file(Path(word)) == ROOT / "styles" / "wave.safetensors"
    for word in ("./styles/wave", "styles/wave.safetensors", "ripple", "wave.pth", "..", str(tmp_path / "wave")):
        assert style_file(Path(word)) == Path(word)
    (tmp_path / "wave").write_text("a file of the user's")
    assert style_file(Path("wave")) == Path("wave")


def test_job_is_made_with_a_style_that_ships(share, clip):
    made = CliRunner().invoke(
        coordinator.main, ["submit", str(share.layout.root), str(clip), "wave", "--mix", "the_scream:0.25"]
    )
    assert made.exit_code == 0, made.output
    (job,) = all_jobs(share)
    assert job.name == "clip--wave"


# ---- SHARED left out
@pytest.mark.parametrize(
    "name, words, left_out",
    [
        ("run", ["clip.mp4", "wave"], True),
        ("run", ["s", "clip.mp4", "wave"], False),
        ("run", ["--nodes", "2", "clip.mp4", "wave"], True),
        ("submit", ["clip.mp4", "wave", "--name", "x"], True),
        ("submit", ["s", "clip.mp4", "--bit-exact", "wave"], False),
        ("prioritize", ["job", "5"], True),
        ("prioritize", ["job", "--", "-5"], True),
        ("prioritize", ["s", "job", "5"], False),
        ("status", [], True),
        ("status", ["job"], True),
        ("status", ["--json", "job", "--every", "3"], True),
        ("status", ["s", "job"], False),
        ("status", ["./s"], False),
        ("status", ["/mnt/s"], False),
        ("status", ["."], False),
        ("status", [".."], False),
        ("status", ["s/"], False),
        ("clean", ["job"], True),
        ("clean", ["s", "job"], False),
        ("drain", ["host"], True),
        ("drain", [], True),
        ("drain", ["s", "host"], False),
        ("nodes", [], True),
        ("nodes", ["s"], False),
        ("nodes", ["--json"], True),
        ("node", [], True),
        ("node", ["--forever"], True),
        ("node", ["s"], False),
        ("node", ["clip.mp4", "wave"], True),
        ("node", ["s", "clip.mp4", "wave"], False),
        ("node", ["--job", "film"], True),
        ("stitch", ["job", "--out", "a/b.mp4"], True),
        ("stitch", ["s", "job", "--out", "x.mp4"], False),
        ("status", ["--help"], False),
        ("status", ["--nonsense"], False),
        ("sample", ["x.mp4"], False),
        ("sample", [], False),
    ],
)
def test_shared_of_the_environment_is_taken_where_it_is_left_out(monkeypatch, name, words, left_out):
    command = main.commands[name]
    context = click.Context(command)
    monkeypatch.setenv("FAV_SHARE", "/mnt/film")
    assert with_share(command, context, words) == (["/mnt/film", *words] if left_out else words)
    monkeypatch.setenv("FAV_SHARE", "-film")
    assert with_share(command, context, words) == (["./-film", *words] if left_out else words)
    for unset in ("", None):
        monkeypatch.setenv("FAV_SHARE", unset) if unset is not None else monkeypatch.delenv("FAV_SHARE")
        assert with_share(command, context, words) == words


def test_commands_work_in_the_shared_directory_of_the_environment(share, tmp_path, monkeypatch):
    toy.create(share, chains=1, length=3)
    monkeypatch.chdir(tmp_path)
    Path("toy").mkdir()  # a directory with the job's name changes nothing
    monkeypatch.setenv("FAV_SHARE", str(share.layout.root))
    call = lambda group, *words: CliRunner().invoke(group, words)
    for group in (coordinator.main, main):
        assert call(group, "pause", "toy").output == "toy: paused; coordinator.py resume continues it\n"
        assert call(group, "resume").output == "toy: resumed\n"
        assert call(group, "prioritize", "toy", "3").output == "toy: priority 3\n"
        assert call(group, "nodes").output == "no nodes\n"
    other = call(main, "status", "./toy")
    assert other.exit_code == 2 and "there is no job with that name" not in other.output
    assert "there is no job with that name" in call(main, "clean", "other").output
    assert call(main, "clean", "--force").output.startswith("toy: removed")
    assert str(share.layout.root) in call(main, "check-fs", "--quick").output


def test_without_the_variable_shared_is_asked_for(monkeypatch):
    monkeypatch.delenv("FAV_SHARE", raising=False)
    for command in ("status", "node", "run", "check-fs"):
        done = CliRunner().invoke(main, [command])
        assert done.exit_code == 2 and "Missing argument 'SHARED'" in done.output, done.output
