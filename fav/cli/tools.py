"""`fav` and `python -m fav`: every command. Those of `coordinator.py`, `node`, and the single steps without a cluster."""

from pathlib import Path

from shared.startup import checked_imports

with checked_imports():
    import click
    from rich.progress import Progress

    import fav
    from fav.cli.commands import COORDINATOR
    from fav.cli.common import SETTINGS, one_line_errors
    from fav.cli.cuts import cuts
    from fav.cli.evaluate import evaluate
    from fav.cli.flow import flow
    from fav.cli.live import live
    from fav.cli.mask import mask
    from fav.cli.node import node
    from fav.cli.options import FILE, SizeType
    from fav.cli.outputs import check_place, check_suffix
    from fav.cli.share_argument import HINT, ShareGroup
    from fav.cli.styles import styles
    from fav.cli.stylize import stylize
    from fav.cli.train import train
    from fav.cli.try_styles import try_styles
    from fav.cli.web import web
    from fav.errors import FavError
    from fav.synthetic.motions import MOTIONS
    from fav.util.atomic import check_new, new_directory, new_file
    from shared.command_names import export_entry
    from shared.fscheck.__main__ import main as check_fs
    from shared.option_types import ChoiceType, WholeType
    from shared.source_hash import version


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(f"fav {fav.__version__} (sources {version()})")
        context.exit()


@click.group(context_settings=SETTINGS, cls=ShareGroup, epilog=HINT)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, and exit.",
)
def main() -> None:
    """Stylize videos, on this machine or on all that mount a shared directory, and learn styles.

    JOB is a job's name as `status` shows it. It may be left out if there is only one job.
    """
    export_entry()


@main.command()
@click.argument("model", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--layout",
    metavar="NAME",
    help="The published layout of MODEL, where its weights fit several: transformer-net or transformer-net-bgr, rrmina or "
    "rrmina-tanh.  [default: the first of each]",
)
@one_line_errors
def convert(model: Path, out: Path, layout: str | None) -> None:
    """Convert a style file to safetensors.

    MODEL is a Torch7 file (.t7) or a PyTorch state dict (.pth) of the authors' networks or of a published image model. OUT
    ends in .safetensors.
    """
    from fav.model.checkpoints import convert as write
    from fav.model.published import layout_names

    check_suffix(check_new(check_place(out)), ".safetensors")
    if layout is not None and layout not in layout_names():
        raise FavError(f"--layout: expected one of {', '.join(layout_names())}, got {layout!r}")
    click.echo(f"done: {write(model, out, layout)}")


@main.command()
@click.argument("out", type=FILE)
@click.option(
    "--truth",
    is_flag=True,
    help="Make a scene with known flow and occlusion of every pixel. OUT is a new directory: "
    "frames as PNG, flow, reliability, cuts.",
)
@click.option(
    "--motion",
    type=ChoiceType(list(MOTIONS)),
    help="With --truth: the camera. "
    + "; ".join(f"{name}: {words}" for name, words in MOTIONS.items())
    + ".  [default: handheld]",
)
@click.option(
    "--frames",
    type=WholeType(1),
    help="With --truth: number of frames. A scene of 12 or more has a cut in the middle.  [default: 50]",
)
@click.option("--size", type=SizeType(), metavar="WxH", help="With --truth: size of the frames.  [default: 640x360]")
@one_line_errors
def sample(out: Path, truth: bool, size: tuple[int, int] | None, **values) -> None:
    """Make a sample clip or a test scene.

    The sample clip has two shots, moving objects and sound. With --truth, the exact flow and occlusion are written, too.
    """
    from fav.synthetic.sample_clip import write_sample
    from fav.synthetic.scene import Scene, write_scene

    given = {name: value for name, value in values.items() if value is not None}
    if size:
        given |= {"width": size[0], "height": size[1]}
    if given and not truth:
        raise FavError("--motion, --frames and --size: expected with --truth; the sample clip is always the same")
    check_place(out)
    if truth:
        scene = Scene(**given)
        with new_directory(out) as directory, Progress() as progress:
            bar = progress.add_task("drawing", total=scene.frames)
            write_scene(directory, scene, lambda: progress.advance(bar))
    else:
        with new_file(out) as clip:
            write_sample(clip.file)
        out = clip.out
    click.echo(f"done: {out}")


for command in (try_styles, styles, flow, stylize, live, cuts, mask, evaluate, train, web, node, *COORDINATOR):
    main.add_command(command)
main.add_command(check_fs, "check-fs")
