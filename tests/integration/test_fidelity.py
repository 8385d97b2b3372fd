"""Some rows of benchmarks/fidelity.py: films have what their sources have, as Debian's FFmpeg sees it."""

import pytest
from click.testing import CliRunner

from benchmarks import fidelity

ROWS = (
    "h264 ts",
    "bt709 pc yuv420p10le",
    "png gray16le",
    "orientation 6",
    "sound ac3 mkv",
    "times hole mkv",
    "joined ts",
    "thumbnail first",
    "subtitles of images",
    "late sound",
)


@pytest.mark.parametrize("name", ROWS)
def test_row_is_right(name):
    result = CliRunner().invoke(fidelity.main, ["--only", name])
    assert result.exit_code == 0 and "1 sources, 0 wrong" in result.output, result.output


def test_there_are_many_sources_each_once():
    names = [source.name for source in fidelity.sources()]
    assert len(names) == len(set(names)) >= 290
