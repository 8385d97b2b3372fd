"""`fav flow`: write the optical flow between two images, or of a whole clip, to files."""

from collections.abc import Callable
from pathlib import Path

import click
from click.core import ParameterSource
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import FILE, FLOW, FPS, RANGE, SOURCE, job_option, limits, options
from fav.cli.outputs import check_place, check_suffix
from fav.errors import FavError
from fav.flow import METHODS, Flow
from fav.pipeline.request import check_range
from fav.util.atomic import check_new, new_directory, new_file
from shared.option_types import ChoiceType, WholeType

SIZE = [job_option("width"), job_option("scale")]


@click.command()
@click.argument("first", type=SOURCE)
@click.argument("second", type=SOURCE)
@click.argument("out", type=FILE, required=False)
@options([*FLOW, *RANGE, *SIZE, *FPS])
@click.option("--method", type=ChoiceType(list(METHODS)), hidden=True, help="As --flow.")
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@click.option(
    "--share",
    type=FILE,
    metavar="SHARED",
    help="Divide the work among all nodes of this shared directory; OUT_DIR lies in it.",
)
@click.option(
    "--nodes",
    type=WholeType(0, 1000),
    default=1,
    show_default=True,
    help="With --share: nodes to start on this machine; 0: only make the job.",
)
@click.pass_context
@one_line_errors
def flow(
    context: click.Context,
    first: str,
    second: str,
    out: Path | None,
    method: str | None,
    threads: int | None,
    share: Path | None,
    nodes: int,
    **values,
) -> None:
    """Write optical flow of images or a clip.

    FIRST SECOND OUT: the flow leads from image FIRST to image SECOND. The command writes it to OUT.flo, and a color picture of it
    to OUT.png.

    VIDEO OUT_DIR: the new directory OUT_DIR gets files that --flow-from reads. bwd_000001.flo leads from frame 1 to frame 0, and
    fwd_000000.flo from frame 0 to frame 1. reliable_000001.pgm is white where bwd_000001.flo is reliable.

    With --share, this is a job: `status`, `cancel`, `retry` and `clean` know it, and nodes on other machines work on it, too.
    The same line continues it after any interruption. The bytes of the files do not depend on the nodes.
    """
    from fav import flow as flows
    from fav.evaluation.comparison import use_threads

    if method:
        values["flow"] = method
    if share is not None:
        if out is not None:
            raise FavError("--share: expected with VIDEO OUT_DIR, not with two images")
        _as_job(context, share, first, Path(second), nodes, {**values, "threads": threads})
        return
    if context.get_parameter_source("nodes") is ParameterSource.COMMANDLINE:
        raise FavError("--nodes: expected with --share, whose nodes they are")
    use_threads(threads)
    flows.check(values["flow"], values["flow_weights"])
    make = lambda: flows.make(
        values["flow"], values["flow_weights"], threads=threads, downscale=values["flow_downscale"]
    )
    if out is None:
        _of_clip(first, Path(second), make, values)
        return
    given = [name for name in ("range", "width", "scale", "fps") if values[name] not in (None, (0, None))]
    if given:
        raise FavError(f"--{given[0]}: expected with VIDEO OUT_DIR, not with two images")
    _of_pair(Path(first), Path(second), out, make)


def _as_job(context: click.Context, root: Path, video: str, out: Path, nodes: int, values: dict) -> None:
    """Make the job that writes the flow, or join it, and work on it here until it is done."""
    from fav.launch.executor import run_job
    from fav.launch.local_launcher import LocalExecutor
    from fav.monitor.console import tell
    from fav.monitor.snapshot import SnapshotReader
    from fav.monitor.text import failures
    from fav.pipeline.flow_submit import submit_flow
    from fav.pipeline.job_files import open_share
    from shared.notify import notify_on_exit

    typed = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = {name for name in values if context.get_parameter_source(name) in typed}
    if context.get_parameter_source("method") in typed:
        given.add("flow")
    shared = open_share(root)
    with notify_on_exit(shared) as node:
        joined = submit_flow(node, video, str(out), frozenset(given), **values)
    job = joined.job
    for note in joined.notes:
        tell(note)
    if (done := job.flag_text("finished")) is None:
        tell(f"{'created' if joined.created else 'joined'} job {job.name}")
        if not nodes:
            return
        run_job(job, LocalExecutor(nodes, "auto", "auto", []))
        done = job.flag_text("finished")
    if done is None:
        for line in failures(SnapshotReader(shared, once=True).job(job)):
            tell(line, err=True)
        raise FavError(f"{job.name}: not finished; the same line continues it")
    tell(f"done: {shared.layout.root / done}; --flow-from '{shared.layout.root / done}/bwd_%06d.flo' takes it")


def _of_pair(first: Path, second: Path, out: Path, make: Callable[[], Flow]) -> None:
    import cv2

    from fav.flow.io import flow_picture, write_flo
    from fav.util.images import read_image

    check_suffix(check_new(check_place(out)), ".flo")
    check_new(out.with_suffix(".png"))
    a, b = read_image(first), read_image(second)
    if a.shape != b.shape:
        raise FavError(
            f"{second}: expected the size of {first}, {a.shape[1]}x{a.shape[0]}, got {b.shape[1]}x{b.shape[0]}"
        )
    with new_file(out) as numbers, new_file(out.with_suffix(".png")) as picture:
        found = make()(a, b)
        write_flo(numbers.file, found)
        picture.file.write_bytes(cv2.imencode(".png", flow_picture(found))[1].tobytes())
    click.echo(f"done: {numbers.out} and {picture.out}")


def _of_clip(video: str, out: Path, make: Callable[[], Flow], values: dict) -> None:
    from fav.pipeline.film_output import film_size
    from fav.stylize.flow_export import export_flow
    from fav.video import SourceSettings, probe

    check_range(*values["range"])
    if values["width"] and values["scale"]:
        raise FavError("--width and --scale: expected one of them, got both")
    source, (start, stop) = probe(video, SourceSettings(values["fps"])), values["range"]
    with new_directory(check_place(out)) as directory, Progress() as progress:
        bar = progress.add_task(
            "computing flow", total=None if source.frames is None else min(stop or source.frames, source.frames) - start
        )
        size = film_size(source, values["width"], values["scale"])
        count = export_flow(
            Path(video),
            directory,
            make(),
            start,
            stop,
            size,
            SourceSettings(values["fps"]),
            lambda: progress.advance(bar),
        )
    click.echo(f"done: {out}, flow of {count} frames; --flow-from '{out}/bwd_%06d.flo' takes it")
