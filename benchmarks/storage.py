"""What frames and flow take on the shared directory: as the files of the procedure of 2020, and as ours."""

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SHIPPED, clip_of
from benchmarks.procedure2020 import Procedure
from benchmarks.stopwatch import Stopwatch
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType
from fav.flow.io import encode_flow
from fav.pipeline.spec import OPTIONS
from fav.stylize.engine import FrameStylizer
from fav.stylize.indexing import index_segments
from fav.stylize.settings import StyleSettings
from fav.stylize.timeline import Timeline
from fav.util.images import encode_png

DEFAULTS = {name: OPTIONS[name].default for name in ("occlusion_erode", "occlusion_fill")}
# A line of the table: files of the procedure of 2020 by the ends of their names, and of ours.
LINES = {
    "source frames": ((".ppm",), ()),
    "stylized frames": ((".png",), ("frame",)),
    "flow and reliability": ((".flo", ".pgm"), ("flow",)),
}


def bytes_of_2020(clip: Path, style: Path, spynet: Path, threads: int) -> Counter[str]:
    """Bytes of the files that the procedure of 2020 leaves, by the ends of their names."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="storage-") as place, torch.no_grad():
        Procedure(Path(place), Stopwatch(), style, spynet, threads).run(clip, Path(place, "film.mp4"))
        for file in Path(place).iterdir():
            found[file.suffix] += file.stat().st_size
    return found


def bytes_of_ours(clip: Path, look: StyleSettings, threads: int) -> Counter[str]:
    """Bytes of the results that a job publishes, by kind; of the flow as well, which travels with the slow methods alone."""
    timeline, found = Timeline(), Counter()
    for piece in index_segments(clip, None, ()):
        timeline.add(piece)
    stylizer = FrameStylizer(clip, look, threads=threads)
    picture = stylizer.first(0, timeline.index, first_of_film=True)
    found["frame"] += len(encode_png(picture))
    for number in range(1, timeline.end):
        geometry = stylizer.flow_field(number, number - 1, timeline.index)
        picture = stylizer.next(number, timeline.index, picture, geometry)
        found["flow"] += len(encode_flow(geometry.flow, geometry.reliability))
        found["frame"] += len(encode_png(picture))
    stylizer.close()
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=FILE)
@click.argument("style", type=FILE, default=SHIPPED)
@click.option("--spynet", type=FILE, required=True, help="The authors' directory of modelL{1..6}_F.t7.")
@click.option(
    "--size",
    type=SizeType(),
    default="1920x1080",
    show_default=True,
    metavar="WxH",
    help="VIDEO is brought to this size.",
)
@click.option("--frames", type=click.IntRange(2), default=6, show_default=True, help="The first frames of VIDEO.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@one_line_errors
def main(video: Path, style: Path, spynet: Path, size: tuple[int, int], frames: int, threads: int | None) -> None:
    """Print the kilobytes that a frame of VIDEO in STYLE takes on the shared directory."""
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="storage-") as place:
        clip = clip_of(video, Path(place), size, frames)
        click.echo(f"{frames} frames by the procedure of 2020 …", err=True)
        before = bytes_of_2020(clip, style, spynet, threads)
        click.echo(f"{frames} frames by a node …", err=True)
        after = bytes_of_ours(
            clip, StyleSettings(style, size, "spynet", spynet, precision="float32", **DEFAULTS), threads
        )
    click.echo(f"kB a frame, {size[0]}x{size[1]}, {frames} frames, flow by SPyNet")
    click.echo(f"{'':28}{'2020':>10}{'ours':>10}")
    for name, (theirs, ours) in LINES.items():
        each = frames - 1 if "flow" in ours else frames
        click.echo(
            f"{name:28}{sum(before[end] for end in theirs) / each / 1000:10.0f}{sum(after[kind] for kind in ours) / each / 1000:10.0f}"
        )
    everything = sum(before[end] for ends, _ in LINES.values() for end in ends)
    for name, kept in (("all, where flow travels", ("frame", "flow")), ("all, with the default flow", ("frame",))):
        click.echo(
            f"{name:28}{everything / frames / 1000:10.0f}{sum(after[kind] for kind in kept) / frames / 1000:10.0f}"
        )


if __name__ == "__main__":
    main()
