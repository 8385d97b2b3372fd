"""The commands of `coordinator.py`, which are also those of `fav`, in the order of the help."""

from fav.cli import jobs, nodes, preview, report, run, status

COORDINATOR = (
    jobs.submit, jobs.prioritize, jobs.pause, jobs.resume, run.run, status.status, nodes.nodes, nodes.drain, nodes.stop,
    jobs.recover, jobs.stitch, preview.preview, report.report, jobs.retry, jobs.cancel, jobs.clean,
)  # fmt: skip
