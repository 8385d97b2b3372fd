"""`python -m fav stylize`: stylize a video on this machine, without a shared directory."""

from pathlib import Path

import click
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import BACKEND, FILE, STYLIZE_OPTIONS, limits, options, request_of
from fav.cli.outputs import check_place
from fav.errors import FavError
from fav.util.atomic import check_new, check_new_directory, new_directory, new_file
from fav.util.image_sequence import is_image_output


@click.command()
@click.argument("video")
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
    """Stylize a video without a shared directory.

    VIDEO is the source, STYLE a style file, OUT the film (.mp4, .mkv, .mov or .webm), or numbered images in a new directory
    ('dir/frame_%06d.png', .tif or .exr). Nothing else is written.
    """
    from fav.model.backends import choose
    from fav.model.devices import device_of
    from fav.pipeline.device_lock import acquire_device
    from fav.pipeline.submit import check, film_encoder, settings_from_request, with_cuts
    from fav.stylize.engine import FrameStylizer, stylized
    from fav.stylize.indexing import index_segments
    from fav.stylize.postprocess import postprocess
    from fav.stylize.segments import segments_of
    from fav.stylize.timeline import Timeline
    from fav.video import check_film, check_film_name, write_film

    request = request_of(context, video, style, values)
    request.check()
    request, cuts_read = with_cuts(request)
    device = acquire_device(device, backend)
    device_of(device)
    choose(backend, device)
    source = check(request, out)
    check_film_name(out)
    images = is_image_output(str(out))
    check_new_directory(check_place(out.parent), empty=True) if images else check_new(check_place(out))
    settings, finish, start, stop, cuts = settings_from_request(request, source, out)
    encoder = film_encoder(request, out)
    check_film(video, out, start=start, stop=stop, settings=request.source, encoder=encoder, size=finish.size)
    timeline = Timeline(start, stop, request.reverse, request.no_temporal, request.chunk)
    with new_directory(out.parent, empty=True) if images else new_file(out) as film, Progress() as progress:
        bar = progress.add_task("looking for cuts", total=source.frames)
        report_progress = lambda: progress.advance(bar)
        for piece in index_segments(Path(video), stop, cuts, request.source, report_progress, request.cut_threshold):
            timeline.add(piece)
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
        )
    for note in (*cuts_read, *timeline.notes, *notes):
        click.echo(note)
    click.echo(f"done: {out.parent if isinstance(film, Path) else film.out}")
