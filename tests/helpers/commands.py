"""Commands as they are typed, in this process, and how they refuse."""

from click.testing import CliRunner


def call(command, *words):
    return CliRunner().invoke(command, [str(word) for word in words])


def refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1 and result.output.startswith("error: "), result.output
    for word in words:
        assert word in result.output, result.output
