"""The environment variable FAV_SHARE: the value of SHARED for commands whose line does not have it.

The number of words on the command line shows whether SHARED is among them: `run` takes three, or two without SHARED.
One case is ambiguous: a command that takes SHARED and optionally a JOB or HOST. There, a single word is SHARED if it
contains a slash, or is `.` or `..`; otherwise it is the JOB or HOST. The rule checks no files, so a directory with a
job's name changes nothing.
"""

import os
from difflib import get_close_matches

import click

VARIABLE = "FAV_SHARE"
_KEY = "fav.cli.share_argument"  # in the context's `meta`: the value of the variable, if it was used
HINT = f"SHARED may be left out if the environment variable {VARIABLE} is set."


def with_share(command: click.Command, context: click.Context, words: list[str]) -> list[str]:
    """The command line of `command`, with SHARED of the environment in front if it is missing.

    Args:
        command: A command. If its first argument is not SHARED, nothing is added.
        context: Of the command, or of the group that it is in.
        words: The command line after the command's name.
    """
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    shared = os.environ.get(VARIABLE)
    if not shared or context.resilient_parsing or not arguments or arguments[0].name != "shared":
        return words
    given = _positional(command, context, words)
    if given is None or not _left_out(given, arguments):
        return words
    context.meta[_KEY] = shared
    return [os.path.join(".", shared) if shared.startswith("-") else shared, *words]


def origin_of_share(message: str) -> str:
    """The end of an error message about SHARED if it is the environment's, else nothing: the user did not type it."""
    context = click.get_current_context(silent=True)
    shared = context.meta.get(_KEY) if context else None
    told = shared is not None and message.startswith((f"{os.path.abspath(shared)}:", f"{shared}:"))
    return f" ({VARIABLE} has this name)" if told else ""


def _positional(command: click.Command, context: click.Context, words: list[str]) -> list[str] | None:
    """The words that are neither options nor their values; None for an unknown option or a request for help."""
    parser = click.Command(
        None,
        params=[param for param in command.get_params(context) if isinstance(param, click.Option)],
        add_help_option=False,
    ).make_parser(context)
    parser.allow_interspersed_args = command.allow_interspersed_args  # a group's context has the group's
    try:
        given, positional, _ = parser.parse_args(list(words))
    except click.UsageError:
        return None  # click reports it when it parses the whole line
    return None if given.get("help") else positional


def _left_out(given: list[str], arguments: list[click.Argument]) -> bool:
    needed = sum(argument.required for argument in arguments)
    if len(given) < needed:
        return True
    if len(given) >= len(arguments):
        return False
    if len(arguments) == 2 and len(given) == 1:  # SHARED [JOB]
        return not ("/" in given[0] or given[0] in (".", ".."))
    return len(given) == len(arguments) - 1  # VIDEO STYLE of a command that also accepts SHARED alone


class ShareCommand(click.Command):
    """A stand-alone command with SHARED."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_share(self, ctx, args))


class ShareGroup(click.Group):
    """A group of commands, some of them with SHARED."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, command, words = super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx))
            if close:
                error.message += f" Did you mean {' or '.join(close)}?"
            raise
        if command is not None and not isinstance(command, ShareCommand):
            words = with_share(command, ctx, words)
        return name, command, words
