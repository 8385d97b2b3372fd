"""A bad value of an option: one form of message on every command line, and one set of types."""

from collections.abc import Iterator

import click
import pytest

import coordinator
import node
from fav.cli.tools import main as fav_main
from shared.fscheck.__main__ import main as check_fs
from shared.option_types import ChoiceType, NumberType, WholeType


@pytest.mark.parametrize(
    "kind, value, message",
    [
        (WholeType(32, 1024), "20", "expected a whole number from 32 to 1024, got '20'"),
        (WholeType(1), "0", "expected a whole number from 1 on, got '0'"),
        (WholeType(1), "3.5", "expected a whole number from 1 on, got '3.5'"),
        (WholeType(0, 2**31), "9" * 5000, f"expected a whole number from 0 to 2147483648, got '{'9' * 80}…'"),
        (NumberType(0, 1, min_open=True), "0", "expected a number above 0, at most 1, got '0'"),
        (NumberType(0, min_open=True), "-1", "expected a number above 0, got '-1'"),
        (NumberType(0.2, 3600), "nan", "expected a number from 0.2 to 3600, got 'nan'"),
        (NumberType(), "inf", "expected a number, got 'inf'"),
        (ChoiceType(["max", "average"]), "mean", "expected max or average, got 'mean'"),
        (ChoiceType(["a", "b", "c"]), "", "expected a, b or c, got ''"),
    ],
)
def test_a_bad_value_says_what_was_expected_and_found(kind, value, message):
    with pytest.raises(click.BadParameter) as error:
        kind.convert(value, None, None)
    assert error.value.message == message


def test_good_values_are_read():
    assert WholeType(0, 10).convert("10", None, None) == 10
    assert NumberType(0, 1).convert("1e-3", None, None) == 0.001
    assert ChoiceType(["max", "average"]).convert("max", None, None) == "max"


def commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name))


@pytest.mark.parametrize("main", [fav_main, coordinator.main, node.main, check_fs])
def test_every_number_and_choice_of_every_command_has_these_types(main):
    theirs = (click.IntRange, click.FloatRange, click.Choice, type(click.INT), type(click.FLOAT))
    found = {(command.name, option.name): option.type for command in commands(main) for option in command.params}
    others = [
        name
        for name, kind in found.items()
        if isinstance(kind, theirs) and not isinstance(kind, (NumberType, WholeType, ChoiceType))
    ]
    assert len(found) > 3 and others == []
