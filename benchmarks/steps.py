"""Where a real node's time goes: core-seconds a frame by step, and for how much of the time its cores are idle."""

import functools
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
import cv2

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SHIPPED, clip_of
from benchmarks.stopwatch import Stopwatch, peak_kb
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType


@dataclass(frozen=True)
class Measured:
    """One run of a pipeline over `frames` frames, in seconds: `whole` on the wall, from the command to its end, and `cores` of
    processor time, of everything that it started; `steps` and `step_cores` the same by the name of a step.

    `painting` is from the first stylized frame's beginning to the last one's end (wall, processor time). Memory in KiB.
    """

    frames: int
    whole: float
    cores: float
    steps: dict[str, float]
    step_cores: dict[str, float]
    painting: tuple[float, float] = (0.0, 0.0)
    peak_kb: int = 0

    @property
    def rest(self) -> float:
        """Wall seconds of no step: the start of the interpreters, imports, and what has no name here."""
        return self.whole - sum(self.steps.values())

    def idle(self, threads: int) -> float:
        """The share of the cores' time that was not used while frames were painted."""
        return 1 - self.painting[1] / (threads * self.painting[0])


def measured(frames: int, words: list, steps: Path) -> Measured:
    """Run a command, which writes what its stopwatch showed to the file `steps`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        list(map(str, words)), check=True, env={**os.environ, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "0")}
    )
    whole = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(frames, whole, cores, **json.loads(steps.read_text()))


def measure_node(video: Path, style: Path, frames: int, threads: int, series: bool = False, **options) -> Measured:
    """A film of `video`, of so many frames, made by one node over an empty local directory; `options` as for `node.py`.

    With `series` nothing is made ahead, so that the steps follow one another and their processor time can be told apart.
    """
    with tempfile.TemporaryDirectory(prefix="steps-") as place:
        share, steps = Path(place, "share"), Path(place, "steps.json")
        share.mkdir()
        words = {
            "threads": threads,
            **{name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
        }
        return measured(
            frames,
            [sys.executable, __file__, "node", share, video, style, steps, json.dumps(words), int(series)],
            steps,
        )


# ---- inside the node
class Later:
    """In place of a thread: what it is given is done when the result is asked for."""

    def submit(self, do, *words):
        return SimpleNamespace(result=functools.partial(do, *words))


def make_plan(job, node, steps: str, series: bool, **options):
    """`fav.pipeline.plan.make_plan` with a stopwatch at its doors; what it shows is in the file `steps` when the film is there."""
    import fav.flow.field
    import fav.model.runner
    import fav.pipeline.artifacts
    import fav.pipeline.plan
    import fav.pipeline.stitching
    import fav.stylize.engine
    import fav.stylize.recurrence
    import fav.video.decoding
    import fav.video.reader
    from fav.pipeline.index_tasks import IndexTasks
    from shared import results
    from shared.claims import Claims
    from shared.filesystem import FileSystem
    from shared.worker import Worker

    watch = Stopwatch()
    with watch.step("load models"):
        plan = fav.pipeline.plan.make_plan(job, node, **options)
    plan.stylizer._flow = watch.timed("flow, two directions", plan.stylizer._flow)
    watch.time("decode", (fav.video.reader.FrameReader, "read"))
    watch.time("decode: checksum", (fav.video.decoding, "checksum"))
    watch.time("decode: YUV to BGR", (fav.video.decoding, "to_bgr"))
    watch.time("decode: resize", (fav.video.reader, "resize"))
    watch.time("flow: rounding", (fav.flow.field, "quantized"))
    watch.time("consistency", (fav.flow.field, "reliability"))
    watch.time("wait for what is ahead", (fav.stylize.engine.FrameStylizer, "flow_field"))
    watch.time("warp", (fav.stylize.recurrence, "warp"))
    watch.time("network input", (fav.model.runner, "network_input"))
    watch.time("network", (fav.model.runner.StyleRunner, "stylize"))
    watch.time("PNG", (fav.pipeline.plan, "encode_png"))
    watch.time("publish: write, sync", (FileSystem, "write_new"))
    watch.time("publish: link, unlink", (results, "publish"))
    watch.time("claims, lists", (Claims, "claim"), (Claims, "release"),
               *((Worker, name) for name in ("_after_publish", "_claim_one", "_refresh_job")))  # fmt: skip
    watch.time("index and cuts", *((IndexTasks, name) for name in ("run_survey", "run_range", "run")))
    watch.time("film: read frames", (fav.pipeline.artifacts.JobArtifacts, "frame"))
    watch.time("film: encode", (fav.pipeline.plan.VideoPlan, "_run_stitch"))
    if series:
        fav.stylize.engine.FrameStylizer.prefetch_flow, fav.pipeline.stitching.prefetch = (lambda *words: None), map
        plan.stylizer._frames = Later()
    moments = []
    paint, publish, finish = plan.run, results.publish_bytes, plan.finalize

    def run(task, report_progress):
        if task.kind == "frame" and not moments:
            moments.append((time.perf_counter(), time.process_time()))
        return paint(task, report_progress)

    def published(node, job, task, data):
        ours = publish(node, job, task, data)
        if task.kind == "frame":
            moments[1:] = [(time.perf_counter(), time.process_time())]
        return ours

    def finished():
        word = finish()
        if word is not None:
            first, last = moments
            watch.save(Path(steps), painting=(last[0] - first[0], last[1] - first[1]), peak_kb=peak_kb())
        return word

    plan.run, results.publish_bytes, plan.finalize = run, published, finished
    return plan


def node(share: Path, video: Path, style: Path, steps: Path, series: bool, **options) -> int:
    """What node.py does with these words, with the stopwatch in its worker; the exit code."""
    from fav.pipeline.request import Request
    from fav.pipeline.submit import submit
    from shared.fscheck.local_checks import check_quickly
    from shared.heartbeat import temporary_member
    from shared.shared_dir import open_share
    from shared.supervisor import Supervisor

    opened = open_share(share)
    check_quickly(opened)
    with temporary_member(opened) as creator:
        job = submit(creator, Request(str(video), style, given=frozenset(options), **options)).job
    here = {"steps": str(steps), "series": series}
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    return Supervisor(opened, "benchmarks.steps:make_plan", job.name, options=here).run()


# ---- the table
@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=FILE)
@click.argument("style", type=FILE, default=SHIPPED)
@click.option(
    "--size",
    "sizes",
    type=SizeType(),
    multiple=True,
    metavar="WxH",
    help="Of the frames, several times for several tables.  [default: 1024x436 and 1920x1080]",
)
@click.option("--frames", type=click.IntRange(3), default=24, show_default=True, help="The first frames of VIDEO.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: all cores]")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Runs of each kind, alternating; the median is shown.",
)
@one_line_errors
def main(video: Path, style: Path, sizes: tuple, frames: int, threads: int | None, rounds: int) -> None:
    """Print where the time of a node goes that makes a film of VIDEO in STYLE over a local directory.

    Milliseconds a frame by step, on the wall and of processor time, measured with nothing made ahead, so that steps follow
    one another. Then what a frame takes from the first one's beginning to the last one's end, and for how much of that time the
    cores are idle: in that way, and as nodes really work, with what comes next made beside the network, and frames published beside it.
    """
    threads = threads or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="steps-") as place:
        for size in sizes or ((1024, 436), (1920, 1080)):
            clip = clip_of(video, Path(place), size, frames)
            runs = {series: [] for series in (True, False)}
            for _ in range(rounds):
                for series in runs:
                    click.echo(f"{size[0]}x{size[1]}: a film of {frames} frames …", err=True)
                    runs[series].append(measure_node(clip, style, frames, threads, series))
            show(size, threads, *(sorted(kind, key=lambda run: run.painting[0])[rounds // 2] for kind in runs.values()))


def show(size: tuple[int, int], threads: int, series: Measured, real: Measured) -> None:
    click.echo(
        f"\n{size[0]}x{size[1]}, {series.frames} frames, {threads} threads, OpenCV {cv2.__version__}; milliseconds a frame"
    )
    click.echo(f"{'step':26}{'wall':>9}{'cores':>9}")
    for name in sorted(series.steps, key=lambda name: -series.step_cores[name]):
        if name != "wait for what is ahead":
            click.echo(
                f"{name:26}{1000 * series.steps[name] / series.frames:9.1f}{1000 * series.step_cores[name] / series.frames:9.1f}"
            )
    click.echo(f"{'start, imports, rest':26}{1000 * series.rest / series.frames:9.1f}")
    for name, run in (("in series", series), ("as nodes work", real)):
        wall, cores = (1000 * seconds / run.frames for seconds in run.painting)
        click.echo(
            f"painting, {name + ':':16}{wall:9.1f}{cores:9.1f}   cores idle {run.idle(threads):.1%}, "
            f"whole job {1000 * run.whole / run.frames:.0f} ms a frame, peak {run.peak_kb / 1024:.0f} MB"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["node"]:  # by `measure_node`
        *paths, words, in_series = sys.argv[2:]
        options = json.loads(words)
        if "flow_weights" in options:
            options["flow_weights"] = Path(options["flow_weights"])
        sys.exit(node(*map(Path, paths), series=bool(int(in_series)), **options))
    main()
