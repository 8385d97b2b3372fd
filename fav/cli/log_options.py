"""The log options of commands: level and format."""

import logging
import os
import socket

import click

import fav
from fav.monitor.console import LogSettings
from shared.logs import log_start
from shared.option_types import ChoiceType
from shared.source_hash import version

_KEY = "fav.cli.log_options"
FORMATS = ("text", "json")


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    context.meta.setdefault(_KEY, {})[parameter.name] = value


LOG = [
    click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_remember, help="Log each step, too."),
    click.option(
        "-q", "--quiet", is_flag=True, expose_value=False, callback=_remember, help="Log only warnings and errors."
    ),
    click.option(
        "--log-format",
        type=ChoiceType(FORMATS),
        default="text",
        show_default=True,
        expose_value=False,
        callback=_remember,
        help="Format of the log; json: one JSON object per line (docs/reference/logging.md).",
    ),
]


def log_settings(context: click.Context | None = None) -> LogSettings:
    """The log settings of the running command; the defaults if it has no log options.

    Raises:
        click.UsageError: for --verbose together with --quiet.
    """
    context = context or click.get_current_context(silent=True)
    given = context.meta.get(_KEY, {}) if context else {}
    if given.get("verbose") and given.get("quiet"):
        raise click.UsageError("--verbose and --quiet: expected one of them, got both")
    level = logging.DEBUG if given.get("verbose") else logging.WARNING if given.get("quiet") else logging.INFO
    return LogSettings(level, given.get("log_format") == "json")


def start_record(job: str | None = None) -> logging.LogRecord:
    """The first record of a log."""
    return log_start(f"fav {fav.__version__}", version(), socket.gethostname(), os.getpid(), job)
