"""How honest is the time left? A finished job, played back: what would have been said, and what came."""

import sys
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav.cli.common import one_line_errors
from fav.cli.options import FILE
from fav.errors import FavError
from fav.monitor.eta import ThroughputEstimator, encode_seconds, estimate_seconds_left
from fav.pipeline.task_names import FRAME_KINDS
from fav.report.data import JobReportData, collect
from fav.util.text import duration
from shared.jobs import find_job
from shared.paths import Task
from shared.shared_dir import open_share

EVERY_S = 1.0


def said(facts: JobReportData) -> list[tuple[float, float, float]]:
    """(seconds since the first frame was begun, what was left, what would have been said) from look to look."""
    frames = [one for one in facts.done if one.kind in FRAME_KINDS]
    times, spec = [one.published for one in frames], facts.artifacts.spec
    runs, pace, found = facts.artifacts.timeline.chains, ThroughputEstimator(), []
    begin, end = times[0] - (frames[0].took or 0), facts.stitched
    for now in np.arange(begin, times[-1], EVERY_S):
        done = bisect_right(times, now)
        working = sum(one.published - (one.took or 0) <= now < one.published for one in frames)
        pace.observe(now, done, working)
        if done < len(frames):
            made = Counter(facts.artifacts.chain_of(Task(one.kind, one.number)).start for one in frames[:done])
            lefts = [len(run) - made[run.start] for run in runs]
            stitch = encode_seconds(len(frames), (spec.width, spec.height))
            words = estimate_seconds_left([left for left in lefts if left], pace, stitch)
            found += [(now - begin, end - now, words)] if words is not None else []
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shared", type=FILE)
@click.argument("job")
@one_line_errors
def main(shared: Path, job: str) -> None:
    """Print what `status --watch` would have said during the finished JOB under SHARED, a line each tenth of it."""
    found = find_job(open_share(shared), job)
    facts = collect(found) if found else None
    if facts is None or facts.stitched is None:
        raise FavError(f"{job}: expected a finished job under {shared}, got {'an unfinished one' if facts else 'none'}")
    click.echo("playing the job back …", err=True)
    looks = said(facts)
    click.echo(f"{'after':>12}{'left':>12}{'said':>12}{'said/left':>12}")
    for part in range(1, 10):
        after, left, words = looks[len(looks) * part // 10]
        click.echo(f"{duration(after):>12}{duration(left):>12}{duration(words):>12}{words / left:12.2f}")
    late = [words / left for after, left, words in looks if after >= looks[-1][0] / 3 and left >= 5]
    click.echo(f"from one third on, {len(late)} looks: said/left from {min(late):.2f} to {max(late):.2f}")


if __name__ == "__main__":
    main()
