"""The command `fav mask`: carry masks that were drawn on some frames through their shots."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import Progress

from fav.cli.common import one_line_errors
from fav.cli.options import FILE, FLOW, FPS, job_option, limits, options
from fav.cli.outputs import check_place
from fav.errors import FavError
from fav.util.atomic import new_directory

if TYPE_CHECKING:
    from fav.stylize.timeline import Timeline

WIDTH = 640  # pixels; default maximum width of masks, because flow of larger frames is slow and hardly better
POOR = 0.5  # fraction of a mask that can be followed to the drawn frame; below it, the user should draw another mask


class TimeType(click.ParamType):
    """A time: seconds (12.5 or 12.5s) or a frame (120f), as (number, whether it is a frame)."""

    name = "time"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([sf]?)", value)
        if not match or match[2] == "f" and "." in match[1]:
            self.fail(f"expected seconds like 12.5, or a frame like 120f, got {value!r}", param, ctx)
        return float(match[1]), match[2] == "f"


class DrawnMaskType(TimeType):
    """TIME:MASK, as (time, path)."""

    name = "time:mask"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        moment, colon, path = value.partition(":")
        if not colon or not path:
            self.fail(f"expected TIME:MASK, like 120f:drawn.png, got {value!r}", param, ctx)
        return super().convert(moment, param, ctx), Path(path)


@click.command()
@click.argument("video")
@click.argument("mask", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--at",
    type=TimeType(),
    default="0f",
    show_default=True,
    metavar="TIME",
    help="The frame on which MASK was drawn: seconds (12.5) or a frame number (120f).",
)
@click.option(
    "--also",
    type=DrawnMaskType(),
    multiple=True,
    metavar="TIME:MASK",
    help="Another mask, drawn on the frame at TIME, in the same shot or in another one; may be repeated.",
)
@click.option(
    "--width", type=limits("width"), help=f"Width of the masks in pixels.  [default: the video's, at most {WIDTH}]"
)
@options([*FLOW, job_option("no_cuts"), job_option("cut_threshold"), *FPS])
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@one_line_errors
def mask(
    video: str,
    mask: Path,
    out: Path,
    at: tuple[float, bool],
    also: tuple[tuple[tuple[float, bool], Path], ...],
    width: int | None,
    no_cuts: bool,
    cut_threshold: float,
    fps: float | None,
    threads: int | None,
    **flow,
) -> None:
    """Carry a mask through a shot.

    MASK is an image that was drawn on one frame of VIDEO (--at); it is white where the frame is to be stylized. The optical
    flow carries it to the other frames of the shot. With --also, each frame gets the mask of the nearest drawn frame of its
    shot. In shots without a drawn frame, the masks are black. The new directory OUT gets a mask for each frame, for
    --mask 'OUT/mask_%06d.png', and a contact sheet, sheet.png.
    """
    from fav import flow as flows
    from fav.evaluation.comparison import use_threads
    from fav.pipeline.film_output import film_size
    from fav.stylize.blend import luma
    from fav.stylize.indexing import index_segments
    from fav.stylize.mask_carrying import PATTERN, SHEET, carry_mask
    from fav.stylize.timeline import Timeline
    from fav.util.images import read_image, resize
    from fav.video import SourceSettings, probe

    use_threads(threads)
    flows.check(flow["flow"], flow["flow_weights"])
    method = flows.make(flow["flow"], flow["flow_weights"], threads=threads, downscale=flow["flow_downscale"])
    settings = SourceSettings(fps)
    source = probe(video, settings)
    size = film_size(source, width or min(source.width, WIDTH), None)
    images = [(at, mask, resize(luma(read_image(mask)), size))]
    images += [(moment, path, resize(luma(read_image(path)), size)) for moment, path in also]
    for _, path, image in images:
        if image.min() == image.max():
            raise FavError(
                f"{path}: expected an image with white and black, got one gray level everywhere; draw the region in white"
            )
    for number, ((moment, is_frame), _, _) in enumerate(images):  # what the container tells, before any work
        if source.seconds and not is_frame and moment > source.seconds + 1:
            option = "--also" if number else "--at"
            raise FavError(
                f"{option}: expected at most {source.seconds:.2f} s, the length of {video}, got {moment:g} s"
            )
    timeline = Timeline()
    with new_directory(check_place(out)) as directory, Progress() as progress:
        bar = progress.add_task("looking for cuts", total=source.frames)
        report_progress = lambda: progress.advance(bar)
        cuts = () if no_cuts else None
        for segment in index_segments(Path(video), None, cuts, settings, report_progress, cut_threshold):
            timeline.add(segment)
        masks = {
            _frame_at(timeline, moment, video, "--also" if number else "--at"): image
            for number, (moment, _, image) in enumerate(images)
        }
        if len(masks) < len(images):
            raise FavError("--also: expected masks that were drawn on different frames, got two for one frame")
        progress.update(bar, description="carrying the mask", completed=0, total=timeline.end)
        found = carry_mask(Path(video), timeline, masks, method, directory, settings, report_progress)
    for frame, part in found.parts.items():
        click.echo(f"frames {part.start} to {part[-1]} have the mask that was drawn on frame {frame}")
    if len(found.followed) < found.frames:
        click.echo("the mask is black in other shots; --also takes masks for them")
    poor = [number for number, followed in sorted(found.followed.items()) if followed < POOR]
    if poor:
        click.echo(
            f"in {len(poor)} frames ({poor[0]} to {poor[-1]}) less than half of the mask can be followed to a drawn frame; "
            f"see {out / SHEET}, and draw another one there (--also) if it is wrong"
        )
    click.echo(f"done: {out}, {found.frames} masks; --mask '{out / PATTERN}' takes them")


def _frame_at(timeline: "Timeline", at: tuple[float, bool], video: str, option: str) -> int:
    """The frame of a moment. Raises FavError if the video ends before."""
    number, is_frame = at
    frames = timeline.indexed_frames
    if is_frame:
        if number >= frames:
            raise FavError(
                f"{option}: expected a frame below {frames}, the number of frames of {video}, got {number:.0f}f"
            )
        return int(number)
    index = timeline.index
    end = index.seconds(frames - 1)
    if number > end + 1:
        raise FavError(
            f"{option}: expected at most {end:.2f} s, the time of the last frame of {video}, got {number:g} s"
        )
    return max((frame for frame in range(frames) if index.seconds(frame) <= number), default=0)
