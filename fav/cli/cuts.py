"""The command `fav cuts`: find the cuts of a video, as a file for --read-cuts and as a contact sheet."""

from pathlib import Path

import click
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import FILE, FPS, RANGE, SOURCE, job_option, options
from fav.cli.outputs import check_place, check_suffix
from fav.errors import FavError
from fav.pipeline.request import check_range
from fav.util.atomic import check_new, new_file


@click.command()
@click.argument("video", type=SOURCE)
@click.argument("out", type=FILE, required=False)
@options([*RANGE, job_option("cut_threshold"), *FPS])
@one_line_errors
def cuts(video: str, out: Path | None, range: tuple[int, int | None], cut_threshold: float, fps: float | None) -> None:
    """Find the cuts of a video.

    The command writes OUT.csv, which --read-cuts reads. OUT.png shows the last frame before each cut and the first one after
    it. You can correct the cuts in OUT.csv. By default, OUT is the name of VIDEO with .cuts.
    """
    import cv2

    from fav.util.image_sequence import title
    from fav.video import SourceSettings, probe
    from fav.video.cut_list import contact_sheet, find_cuts, write_cuts

    check_range(*range)
    start, stop = range
    out = out or Path(f"{title(video)}.cuts.csv")
    check_suffix(out, ".csv")
    sheet = out.with_suffix(".png")
    check_new(check_place(out))
    check_new(sheet)
    settings = SourceSettings(fps)
    source = probe(video, settings)
    with Progress() as progress:
        bar = progress.add_task("looking for cuts", total=source.frames)
        found = find_cuts(video, settings, cut_threshold, start, stop, lambda: progress.advance(bar))
    if found.frames <= start:
        raise FavError(f"--range: expected a START below the number of frames of {video} ({found.frames}), got {start}")
    with new_file(out) as numbers:
        numbers.file.write_text(write_cuts(found), encoding="utf-8")
    shown = ""
    if found.cuts:
        with new_file(sheet) as picture:
            picture.file.write_bytes(cv2.imencode(".png", contact_sheet(found))[1].tobytes())
        shown = f" and {picture.out}"
    for note in found.notes:
        click.echo(note, err=True)
    count = len(found.cuts)
    click.echo(f"done: {count} cut{'s' if count != 1 else ''} in {found.frames - start} frames: {numbers.out}{shown}")
