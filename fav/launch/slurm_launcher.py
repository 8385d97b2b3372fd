"""Running a job by Slurm: queue nodes, and follow them."""

import secrets
import sys
from pathlib import Path

from fav.launch import slurm
from fav.monitor.console import tell
from shared.jobs import Job, over
from shared.source_hash import ROOT
from shared.terminal import stopped_code


def follow_slurm(job: Job, nodes: int, words: list[str], options: list[str]) -> list[Path]:
    """Let Slurm start nodes, and follow the job until it is over or none of them is left; their logs."""
    from fav.monitor.progress import LogTail, follow

    layout, nobody_guesses = job.share.layout, secrets.token_hex(4)  # a name that nobody has taken: Slurm would follow a link
    words = [str(layout.root), "--job", job.name, *words]
    array = slurm.submit(ROOT, nodes, words, layout.logs / f"{job.name}.slurm.{nobody_guesses}.log", options)
    tell(f"Slurm job {array.number}: {nodes} nodes, as there is room; to end them: scancel {array.number}")
    try:
        follow(job, lambda: not over(job) and array.there, LogTail(array.logs))
    except KeyboardInterrupt as asked:
        tell(f"not following any more; the nodes go on. To end them: scancel {array.number}")
        sys.exit(stopped_code(asked))
    return array.logs
