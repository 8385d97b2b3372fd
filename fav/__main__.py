"""`python -m fav`: the single steps, without a cluster and without a shared directory."""

from pathlib import Path

from shared.errors import installed

with installed():
    import click
    from rich.progress import Progress

    from fav.commands import one_line_errors
    from fav.errors import FavError
    from fav.evaluation.command import evaluate
    from fav.options import BACKEND, FILE, FLOW, LOOK, Size, limits, options, request_of
    from fav.synthetic.scene import MOTIONS
    from fav.training.command import train
    from fav.util.atomic import check_new, new_directory, new_file

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=SETTINGS)
def main() -> None:
    """The single steps of stylizing a video, and learning a style. For a whole job see node.py and coordinator.py."""


@main.command()
@click.argument("video")
@click.argument("style", type=FILE)
@click.argument("out", type=FILE)
@options(LOOK)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@options(BACKEND)
@click.pass_context
@one_line_errors
def stylize(context: click.Context, video: str, style: Path, out: Path, threads: int | None, device: str, backend: str,
            **values) -> None:
    """Stylize VIDEO with STYLE into the film OUT (.mp4, .mkv or .mov); nothing else is written."""
    from fav.model.backends import choose
    from fav.model.devices import device_of, own_device
    from fav.pipeline.submit import check, look_of, with_cuts
    from fav.stylize.engine import Studio, stylized
    from fav.stylize.indexing import index_pieces
    from fav.stylize.postprocess import finished
    from fav.stylize.timeline import Timeline
    from fav.video import check_film_name, write_film

    request = request_of(context, video, style, values)
    request.check()
    request, cuts_read = with_cuts(request)
    device = own_device(device, backend)
    device_of(device)
    choose(backend, device)
    source = check(request)
    check_film_name(check_new(out))
    look, finish, start, stop, cuts = look_of(request, source)
    timeline = Timeline(start, stop, request.backward, request.independent, request.chunk)
    with new_file(out) as film, Progress() as progress:
        bar = progress.add_task("looking for cuts", total=source.frames)
        for piece in index_pieces(Path(video), stop, cuts, request.fps, lambda: progress.advance(bar)):
            timeline.add(piece)
        if timeline.end <= start:
            raise FavError(f"{video}: expected more than {start} frames for this --range, got {timeline.known}")
        progress.update(bar, description="stylizing", completed=0, total=timeline.end - start)
        studio = Studio(Path(video), look, request.fps, threads, device, backend)
        frames = stylized(studio, timeline, lambda: progress.advance(bar))
        pictures = finished(frames, finish, Path(video), timeline.index, start, request.fps)
        notes = write_film(film.file, Path(video), timeline.index, pictures, start=start, stop=timeline.cut_off,
                           crf=request.crf, fps=request.fps, name=out)
    for note in (*cuts_read, *timeline.notes, *notes):
        click.echo(note)
    click.echo(f"done: {film.out}")


@main.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.argument("out", type=FILE)
@options(FLOW)
@one_line_errors
def flow(first: Path, second: Path, out: Path, flow: str, flow_weights: Path | None) -> None:
    """Write the optical flow from image FIRST to image SECOND as OUT.flo, and beside it as a colour picture."""
    import cv2

    from fav import flow as flows
    from fav.flow.io import flow_picture, write_flo
    from fav.util.images import read_image

    if check_new(out).suffix != ".flo":
        raise FavError(f"{out}: expected a name that ends in .flo")
    check_new(out.with_suffix(".png"))
    flows.check(flow, flow_weights)
    a, b = read_image(first), read_image(second)
    if a.shape != b.shape:
        raise FavError(f"{second}: expected the size of {first}, {a.shape[1]}x{a.shape[0]}, got {b.shape[1]}x{b.shape[0]}")
    with new_file(out) as numbers, new_file(out.with_suffix(".png")) as picture:
        found = flows.make(flow, flow_weights)(a, b)
        write_flo(numbers.file, found)
        picture.file.write_bytes(cv2.imencode(".png", flow_picture(found))[1].tobytes())
    click.echo(f"done: {numbers.out} and {picture.out}")


@main.command()
@click.argument("model", type=FILE)
@click.argument("out", type=FILE)
@one_line_errors
def convert(model: Path, out: Path) -> None:
    """Convert a style MODEL (.t7 of the authors, .pth of the PyTorch port) to OUT.safetensors."""
    from fav.model.checkpoints import convert as write

    if check_new(out).suffix != ".safetensors":
        raise FavError(f"{out}: expected a name that ends in .safetensors")
    click.echo(f"done: {write(model, out)}")


@main.command()
@click.argument("out", type=FILE)
@click.option("--truth", is_flag=True, help="OUT is a new directory for a scene of which every pixel's motion and occlusion "
              "is known: frames as PNG, flow, reliability, cuts.")
@click.option("--motion", type=click.Choice(list(MOTIONS)), help="With --truth: the camera. "
              + "; ".join(f"{name}: {words}" for name, words in MOTIONS.items()) + ".  [default: handheld]")
@click.option("--frames", type=click.IntRange(1),
              help="With --truth: how many; there is a cut in the middle of 12 and more.  [default: 50]")
@click.option("--size", type=Size(), metavar="WxH", help="With --truth: of the frames.  [default: 640x360]")
@one_line_errors
def sample(out: Path, truth: bool, size: tuple[int, int] | None, **values) -> None:
    """Make a short sample clip to try things on: two shots, moving things, sound; or a scene to measure on."""
    from fav.synthetic.sample_clip import write_sample
    from fav.synthetic.scene import Scene, write_scene

    given = {name: value for name, value in values.items() if value is not None}
    if size:
        given |= {"width": size[0], "height": size[1]}
    if given and not truth:
        raise FavError("--motion, --frames and --size: expected with --truth; the sample clip is always the same")
    if truth:
        scene = Scene(**given)
        with new_directory(out) as room, Progress() as progress:
            bar = progress.add_task("drawing", total=scene.frames)
            write_scene(room, scene, lambda: progress.advance(bar))
    else:
        with new_file(out) as clip:
            write_sample(clip.file)
        out = clip.out
    click.echo(f"done: {out}")


main.add_command(evaluate)
main.add_command(train)


if __name__ == "__main__":
    main(prog_name="python -m fav")
