"""The documentation: the site builds, links lead to files, the reference is up to date, no summary is cut off."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fav.cli import reference
from tests.helpers.checkout import ROOT

PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/**/*.md"))]
OTHERS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md", "styles/README.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
SOURCE = re.compile(r"(?<![\w./-])(?:fav|shared|tests|benchmarks|styles|bin)/(?!_)[\w./-]*\w")
TEST_FILE = re.compile(r"\btest_\w+\.py")
MOST_LINES = 100  # of the README
SUMMARY = 45  # letters of a command's summary, which click shows whole


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (the dev extra)")
def test_the_site_builds_without_a_warning(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert run.returncode == 0 and "WARNING" not in run.stderr, run.stdout + run.stderr
    assert (tmp_path / "site" / "reference" / "commands" / "index.html").is_file()


@pytest.mark.parametrize("page", OTHERS)
def test_relative_links_lead_to_files_and_headings(page):
    links = [link for link in LINK.findall((ROOT / page).read_text()) if not re.match(r"[a-z]+:", link)]
    assert links
    for link in links:
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert not heading or heading in headings(target), f"{page} links to {link}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges and mkdocs name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_fits_on_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    text = page.read_text()
    for name in SOURCE.findall(text):
        assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), f"{page.name} names {name}"
    for name in TEST_FILE.findall(text):
        assert list(ROOT.glob(f"tests/**/{name}")), f"{page.name} names {name}"


def test_tests_that_the_page_of_the_originals_names_are_there():
    rows = (ROOT / "docs/explanation/originals.md").read_text().splitlines()
    named = {name for row in rows if row.startswith("|") for name in re.findall(r"`(\w+)`", row.split("|")[-2])}
    there = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def test_(\w+)", file.read_text())
    }
    assert len(named) > 50 and not named - there


def test_the_page_of_commands_is_up_to_date():
    written = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    assert written == reference.page(reference.commands()), "run: python -m fav.cli.reference"


def every_command(command: click.Command) -> list[click.Command]:
    members = command.commands.values() if isinstance(command, click.Group) else ()
    return [command, *(each for member in members for each in every_command(member))]


def test_no_summary_of_a_command_is_cut_off():
    members = [one for _, command in reference.commands() for one in every_command(command)[1:]]
    assert len(members) > 20
    for command in members:
        summary = command.get_short_help_str(SUMMARY)
        assert summary.endswith(".") and not summary.endswith("..."), f"{command.name}: {summary}"
