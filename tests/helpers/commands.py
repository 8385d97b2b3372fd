"""Commands as they are typed, in this process, and how they refuse."""

from click.testing import CliRunner

from tests.helpers.logs import without_start


def call(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    said = without_start(result.output)
    assert len(said.strip().splitlines()) == 1 and said.startswith("error: "), result.output
    for word in words:
        assert word in result.output, result.output
