"""Commands as they are typed, in this process, and how they refuse."""

from click.testing import CliRunner

from shared.logs import STARTED, parse


def call(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if not parse(line).message.startswith(STARTED)]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.output
    for word in words:
        assert word in result.output, result.output
