"""The command `fav live`: stylize a camera or a stream in a window."""

from contextlib import ExitStack
from pathlib import Path

import click

from fav.cli.common import one_line_errors
from fav.cli.options import BACKEND, FILE, SOURCE, limits, options
from fav.errors import FavError
from fav.model.bundled_styles import style_file
from shared.option_types import WholeType


@click.command()
@click.argument("source", type=SOURCE)
@click.argument("styles", nargs=-1, required=True, type=FILE, metavar="STYLE...")
@click.option(
    "--width", type=WholeType(16, 8192), default=480, show_default=True, help="Width of the frames in pixels."
)
@click.option(
    "--flow", metavar="METHOD", default="dis", show_default=True, help="Optical flow method (`fav stylize --help`)."
)
@click.option(
    "--no-temporal", is_flag=True, help="Stylize each frame without the previous one: faster, but the result flickers."
)
@click.option("--frames", type=WholeType(1), metavar="N", help="Stop after N frames.")
@click.option("--no-window", is_flag=True, help="Show nothing; print the number of frames and the rate at the end.")
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@options(BACKEND)
@one_line_errors
def live(
    source: str,
    styles: tuple[Path, ...],
    width: int,
    flow: str,
    no_temporal: bool,
    frames: int | None,
    no_window: bool,
    threads: int | None,
    device: str,
    backend: str,
) -> None:
    """Stylize a camera or a stream in a window.

    SOURCE is the number of a camera (0 is the first), the address of a stream, or a video file. Keys 1 to 9 choose a STYLE, n
    the next one, and q ends. The title of the window shows the frame rate. Image models can be used as styles, too.
    """
    from fav import flow as flows
    from fav.model.backends import choose
    from fav.model.devices import best_precision, device_of
    from fav.model.interpolation import load_mixture
    from fav.model.runner import StyleRunner
    from fav.pipeline.device_lock import acquire_device
    from fav.stylize.live import LiveStylizer, open_source, window

    if len(styles) > 9:
        raise FavError(f"expected at most 9 styles, one for each key, got {len(styles)}")
    device = acquire_device(device, backend)
    precision = best_precision(device_of(device))
    name = choose(backend, device)
    paths = [style_file(style) for style in styles]
    runners = [StyleRunner(load_mixture(path, temporal=False), threads, device, name, precision) for path in paths]
    if not no_temporal:
        flows.check(flow, None)
    method = None if no_temporal else flows.make(flow, None, device, precision, threads)
    stylizer, count = LiveStylizer(runners, width, method), 0
    with ExitStack() as stack:
        frames_in = stack.enter_context(open_source(source))
        show = None if no_window else stack.enter_context(window())
        for frame in frames_in:
            picture, count = stylizer.stylize(frame), count + 1
            rate = f"{stylizer.rate:.1f} a second" if stylizer.rate else "…"
            title = f"{stylizer.chosen + 1}: {paths[stylizer.chosen].stem}, {rate}"
            if (show and not stylizer.key(show(picture, title))) or count == frames:
                break
    rate = f", {stylizer.rate:.1f} a second" if stylizer.rate else ""
    click.echo(f"done: {count} frames{rate}")
