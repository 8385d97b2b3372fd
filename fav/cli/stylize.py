"""`fav stylize`: stylize a video or pictures on this machine, without a shared directory."""

from pathlib import Path

import click
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import BACKEND, FILE, SOURCE, STYLIZE_OPTIONS, limits, options, request_of
from fav.cli.outputs import check_place
from fav.errors import FavError
from fav.pipeline.request import Request
from fav.util.atomic import check_new, check_new_directory, new_directory, new_file
from fav.util.image_sequence import is_image_output

# Options that mean something for a picture that nothing comes before.
OF_PICTURES = {
    "width",
    "scale",
    "style_scale",
    "strength",
    "preserve_colors",
    "mix",
    "precision",
    "occlusion_fill",
    "no_temporal",
}


@click.command()
@click.argument("video", type=SOURCE)
@click.argument("style", type=FILE)
@click.argument("out", type=FILE)
@options(STYLIZE_OPTIONS)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@options(BACKEND)
@click.pass_context
@one_line_errors
def stylize(
    context: click.Context, video: str, style: Path, out: Path, threads: int | None, device: str, backend: str, **values
) -> None:
    """Stylize a video or pictures on this machine.

    VIDEO is the source, and STYLE a style. OUT is the film (.mp4, .mkv, .mov or .webm), or numbered images in a new directory
    ('dir/frame_%06d.png', .tif or .exr). Nothing else is written.

    VIDEO can also be an image; then OUT is one, too (.png or .jpg). If VIDEO is a folder of images, OUT is a folder for the
    stylized ones, which keep their names.
    """
    from fav.model.backends import choose
    from fav.model.devices import device_of
    from fav.pipeline.check_request import check_request
    from fav.pipeline.device_lock import acquire_device
    from fav.pipeline.film_output import film_encoder
    from fav.pipeline.mixture_notes import mixture_notes
    from fav.pipeline.projection import projection_notes
    from fav.pipeline.resolve_options import with_chunk_length, with_cuts
    from fav.pipeline.spec_fields import settings_from_request
    from fav.stylize.engine import FrameStylizer, stylized
    from fav.stylize.images import is_image_source
    from fav.stylize.indexing import index_segments
    from fav.stylize.postprocess import postprocess
    from fav.stylize.segments import segments_of
    from fav.stylize.timeline import Timeline
    from fav.video import check_film, check_film_name, write_film

    request = request_of(context, video, style, values)
    request.check()
    if is_image_source(video, out):
        _stylize_pictures(request, out, threads, device, backend)
        return
    request, cuts_read = with_cuts(request)
    device = acquire_device(device, backend)
    device_of(device)
    choose(backend, device)
    source = check_request(request, out)
    request, chunking = with_chunk_length(request, source)
    chunking += (*projection_notes(request, source), *mixture_notes(request))
    check_film_name(out)
    images = is_image_output(str(out))
    check_new_directory(check_place(out.parent), empty=True) if images else check_new(check_place(out))
    settings, finish, start, stop, cuts, made_by = settings_from_request(request, source, out, threads)
    encoder = film_encoder(request, out)
    check_film(video, out, start=start, stop=stop, settings=request.source, encoder=encoder, size=finish.size)
    timeline = Timeline(start, stop, request.reverse, request.no_temporal, request.chunk)
    with new_directory(out.parent, empty=True) if images else new_file(out) as film, Progress() as progress:
        bar = progress.add_task("looking for cuts", total=source.frames)
        report_progress = lambda: progress.advance(bar)
        for segment in index_segments(Path(video), stop, cuts, request.source, report_progress, request.cut_threshold):
            timeline.add(segment)
        if timeline.end <= start:
            raise FavError(
                f"{video}: expected more than {start} frames for this --range, got {timeline.indexed_frames}"
            )
        progress.update(bar, description="stylizing", completed=0, total=timeline.end - start)
        stylizer = FrameStylizer(Path(video), settings, request.source, threads, device, backend)
        frames = stylized(stylizer, timeline, lambda: progress.advance(bar))
        pictures = postprocess(frames, finish, Path(video), timeline.index, start, request.source)
        notes = write_film(
            film if isinstance(film, Path) else film.file,
            Path(video),
            timeline.index,
            pictures,
            start=start,
            stop=timeline.stop_or_none,
            encoder=encoder,
            segments=segments_of(start, timeline.end, timeline.cuts),
            settings=request.source,
            name=out,
            made_by=made_by,
        )
    for note in (*cuts_read, *chunking, *timeline.notes, *notes):
        click.echo(note)
    click.echo(f"done: {out.parent if isinstance(film, Path) else film.out}")


def _stylize_pictures(request: Request, out: Path, threads: int | None, device: str, backend: str) -> None:
    """Stylize one picture, or all of a folder."""
    from fav.model.backends import choose
    from fav.model.devices import best_precision, device_of
    from fav.model.interpolation import load_mixture
    from fav.model.runner import StyleRunner
    from fav.pipeline.arguments import check_arguments
    from fav.pipeline.device_lock import acquire_device
    from fav.pipeline.over_time import mix_at_start
    from fav.stylize.images import ImageSettings, entries_left_out, plan_outputs, stylize_images

    if others := sorted(request.given - OF_PICTURES):
        raise FavError(f"--{others[0].replace('_', '-')}: expected with a video; {request.video} is of pictures")
    over_time = {"--strength": request.strength, **{f"--mix {style}": weight for style, weight in request.mix}}
    for flag, value in over_time.items():
        if isinstance(value, str):
            raise FavError(f"{flag}: expected a number, as pictures have no time, got {value}")
    source = Path(request.video)
    check_arguments(request.video, request.style)
    pairs = plan_outputs(source, check_place(out))
    if not source.is_dir():
        check_new(out)
    elif note := entries_left_out(source):
        click.echo(note)
    device = acquire_device(device, backend)
    allowed = best_precision(device_of(device)) if request.precision == "auto" else request.precision
    network = load_mixture(request.style, mix_at_start(request.mix), temporal=False)
    runner = StyleRunner(network, threads, device, choose(backend, device), allowed)
    settings = ImageSettings(
        request.width,
        request.scale,
        request.style_scale,
        float(request.strength),
        request.preserve_colors,
        request.occlusion_fill,
    )
    notes: list[str] = []
    made = 0
    with Progress() as progress:
        for target, data in progress.track(
            stylize_images(runner, pairs, settings, notes.append), total=len(pairs), description="stylizing"
        ):
            target.parent.mkdir(exist_ok=True)
            with new_file(target) as draft:
                draft.file.write_bytes(data)
            made += 1
    for note in notes:
        click.echo(note)
    if not made:
        raise FavError(f"{source}: expected pictures that can be read, got none")
    click.echo(f"done: {out}" + (f", {made} pictures" if source.is_dir() else ""))
