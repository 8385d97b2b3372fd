"""Queue nodes by Slurm as a job array, one node per array task (`bin/node.sbatch`). Slurm supervises them."""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from fav.launch.errors import LaunchError
from shared.command_names import CHECKOUT
from shared.errors import sanitize

POLL_INTERVAL_S = 5.0  # between two calls of squeue


def check() -> None:
    """Raise LaunchError if Slurm cannot be used from here."""
    if not CHECKOUT:
        raise LaunchError(
            "--slurm: expected to run from a checkout, which has bin/node.sbatch, got a program that was installed by "
            "pip; have Slurm start `fav node SHARED` by a script of yours, or use a checkout"
        )
    if shutil.which("sbatch") is None:
        raise LaunchError(
            "--slurm: expected sbatch on PATH, found none; log in to a machine from which Slurm jobs are submitted"
        )


class JobArray:
    """Nodes that were queued together, and the log of each."""

    def __init__(self, number: str, logs: list[Path]):
        self.number, self.logs = number, logs
        self._there, self._asked = True, time.monotonic()

    @property
    def there(self) -> bool:
        """Whether any of them runs or is queued. True if Slurm does not answer."""
        if self._there and time.monotonic() - self._asked > POLL_INTERVAL_S:
            done = subprocess.run(["squeue", "--noheader", "--jobs", self.number], capture_output=True, text=True)
            gone = done.returncode != 0 and "Invalid job id" in done.stderr
            self._there = bool(done.stdout.strip()) or done.returncode != 0 and not gone
            self._asked = time.monotonic()
        return self._there


def submit(root: Path, count: int, words: Sequence[str], log: Path, options: Sequence[str]) -> JobArray:
    """Queue nodes.

    Args:
        root: the checkout.
        count: number of nodes.
        words: arguments of node.py.
        log: path of the logs, which get `.NUMBER_PART` before the suffix.
        options: of sbatch.

    Raises:
        LaunchError: Slurm refused; the message has its answer.
    """
    output = log.with_name(f"{log.stem.replace('%', '%%')}.%A_%a{log.suffix}")
    command = [
        "sbatch",
        "--parsable",
        f"--array=1-{count}",
        f"--chdir={root}",
        f"--output={output}",
        *options,
        str(root / "bin" / "node.sbatch"),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    number = re.match(r"\d+", done.stdout)
    if done.returncode or number is None:
        said = " ".join((done.stderr or done.stdout).split())
        raise LaunchError(
            f"--slurm: expected Slurm to queue the nodes, got: {sanitize(said, 500)}; the job exists, the same command "
            f"continues it"
        )
    return JobArray(
        number[0], [log.with_name(f"{log.stem}.{number[0]}_{part}{log.suffix}") for part in range(1, count + 1)]
    )
