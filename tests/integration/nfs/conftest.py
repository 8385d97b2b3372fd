"""The table of what each run took: at the end of pytest's output, and in the file FAV_NFS_TABLE."""

import os
from pathlib import Path

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, str, str]]]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def note(request):
    """note(job, case, version, what it took): one cell of the table."""
    return lambda *cell: request.config.stash[ROWS].append(cell)


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    versions = sorted({version for _, _, version, _ in rows})
    cells = {(job, case, version): took for job, case, version, took in rows}
    table = [["job", "case", *(f"NFS {version}" for version in versions)], ["---"] * (2 + len(versions))]
    table += [
        [job, case, *(cells.get((job, case, version), "") for version in versions)]
        for job, case in dict.fromkeys((job, case) for job, case, _, _ in rows)
    ]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    terminalreporter.section("NFS: seconds from the start of the command to the end of the last node")
    terminalreporter.write_line(text)
    if path := os.environ.get("FAV_NFS_TABLE"):
        Path(path).write_text(text + "\n")
