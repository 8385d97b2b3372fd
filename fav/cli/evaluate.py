"""The command `fav evaluate`: measure a stylized film against its source."""

from contextlib import ExitStack
from pathlib import Path

import click
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import CUTS, FILE, FLOW, FLOW_FILES, FPS, RANGE, SOURCE, FrameRangeType, limits, options
from fav.cli.outputs import check_place
from fav.errors import FavError
from fav.pipeline.request import check_cuts, check_range
from fav.pipeline.spec import LOSS_NETWORK
from fav.util.atomic import check_new, new_file


@click.command()
@click.argument("video", type=SOURCE)
@click.argument("stylized", type=SOURCE)
@options([*FLOW, *FLOW_FILES, *CUTS, *RANGE, *FPS])
@click.option(
    "--against",
    type=SOURCE,
    metavar="FILM",
    help="A film of the same frames and size to compare with, for example one made with --no-temporal.",
)
@click.option(
    "--style",
    type=FILE,
    metavar="IMAGE",
    help="Also measure style loss, content loss and palette distance, with this image as the style.",
)
@click.option(
    "--loss-network",
    default=LOSS_NETWORK,
    show_default=True,
    metavar="NAME|FILE",
    help="The loss network for --style (`fav train --help`).",
)
@click.option(
    "--seams",
    type=FrameRangeType(),
    default=(),
    metavar="N,N,…",
    help="Test whether the error is unusual at these frames (of VIDEO, counted from 0).",
)
@click.option(
    "--out",
    type=FILE,
    metavar="NAME",
    help="Write NAME.csv, NAME.json and NAME.png.  [default: STYLIZED with .evaluation instead of its suffix]",
)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@one_line_errors
def evaluate(
    video: str,
    stylized: str,
    style: Path | None,
    loss_network: str,
    seams: tuple[int, ...],
    out: Path | None,
    threads: int | None,
    no_cuts: bool,
    read_cuts: Path | None,
    range: tuple[int, int | None],
    flow_from: Path | None,
    flow_forward_from: Path | None,
    reliability_from: Path | None,
    flow_first: int,
    flow_y_up: bool,
    invert_reliability: bool,
    fps: float | None,
    **values,
) -> None:
    """Measure how steady a stylized film is.

    STYLIZED is a film made from VIDEO (or, with --range, from a part of it). The command prints a table. It writes the
    figures of every frame to NAME.csv and NAME.json, and plots to NAME.png. See docs/how-to/evaluate.md.
    """
    from fav.evaluation import report
    from fav.evaluation.comparison import EvaluationConfig, check, rows, use_threads
    from fav.flow.files import FlowFiles
    from fav.video import SourceSettings
    from fav.video.shot_detection import read_cuts as cuts_in

    check_cuts(no_cuts, read_cuts)
    check_range(*range)
    use_threads(threads)
    if reliability_from and not flow_from:
        raise FavError("--reliability-from: expected with --flow-from, whose flow it describes")
    files = FlowFiles(flow_from, flow_forward_from, reliability_from, flow_first, flow_y_up, invert_reliability)
    cuts = cuts_in(read_cuts) if read_cuts else () if no_cuts else None
    comparison = EvaluationConfig(
        video,
        stylized,
        start=range[0],
        stop=range[1],
        cuts=cuts,
        settings=SourceSettings(fps),
        flow_files=files,
        **values,
    )
    out = out or Path(stylized).with_suffix(".evaluation")
    names = [check_new(check_place(out.with_name(out.name + suffix))) for suffix in report.WRITERS]
    width, height, frames = check(comparison, seams)
    losses, strokes = None, None
    if style:
        from fav.evaluation.perceptual_metrics import losses_of, style_image_of
        from fav.evaluation.strokes import stroke_width

        losses, strokes = losses_of(style, loss_network), stroke_width(style_image_of(style))
    with ExitStack() as held:
        files = [held.enter_context(new_file(name)) for name in names]
        with Progress() as progress:
            bar = progress.add_task("measuring", total=frames)
            found = tuple(rows(comparison, losses, lambda: progress.advance(bar)))
        evaluation = report.Evaluation(comparison, (width, height), found, seams, strokes)
        for file, write in zip(files, report.WRITERS.values()):
            write(file.file, evaluation)
    click.echo(report.table(evaluation))
    click.echo(f"done: {', '.join(str(file.out) for file in files)}")
