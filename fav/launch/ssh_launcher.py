"""Running a job on a list of hosts: look at all of them first, then start, follow and start again."""

import sys
from pathlib import Path

from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host, read_hosts
from fav.launch.preflight import HostChecker, HostRejected, show
from fav.launch.ssh_cluster import ReadyHost, SSHCluster
from fav.monitor.console import tell
from fav.util.reading import read_file
from shared.control import ControlCommand, give
from shared.errors import JobQueueError
from shared.identity import identities
from shared.jobs import Job, over
from shared.shared_dir import SharedDir
from shared.terminal import stopped_code

LARGEST = 1 << 20  # bytes of a hosts file
PATIENCE_S = 60.0  # beyond the lease: how long a run whose hosts are all out of reach waits for one to answer


def hosts_of(path: Path) -> list[Host]:
    """The hosts in a file, which is read again and again; FavError where there are none, or a line is none."""
    try:
        hosts = read_hosts(read_file(path, f"--hosts {path}", LARGEST).decode(errors="replace"), str(path))
    except OSError as error:
        raise LaunchError(f"{path}: expected a file of hosts, one a line ({error.strerror})") from None
    if not hosts:
        raise LaunchError(f"{path}: expected one host a line, got none")
    return hosts


def follow_hosts(job: Job, path: Path, backend: str, skip_unfit: bool) -> list[Path]:
    """Look at the hosts, run nodes there, follow them until none runs any more or the job is over; their logs.

    Exits with 2, before any work, where a host is not fit.
    """
    from fav.monitor.progress import LogTail, follow

    scout, talk, logs = HostChecker(job, backend), LogTail([]), []

    def admit(host: Host) -> ReadyHost:
        """What a host that joins later must pass, too."""
        try:
            found = scout.look([host])[host]
        except OSError as error:  # the share's weather
            raise LaunchError(f"it could not be looked at ({error.strerror})") from None
        if isinstance(found, HostRejected):
            raise LaunchError("; ".join(found.wrong))
        hear(found)
        return found

    def hear(site: ReadyHost) -> None:
        for name in site.commands:
            logs.append(job.share.layout.logs / f"{name}.log")
            talk.hear(logs[-1])

    found = scout.look(hosts_of(path))
    sites = [one for one in found.values() if isinstance(one, ReadyHost)]
    if len(sites) < len(found):
        show(found)
    if len(sites) < len(found) and not (skip_unfit and sites):
        raise LaunchError(f"{path}: expected all hosts to be fit, got {len(found) - len(sites)} of {len(found)} that are not; mend "
                            f"that, take them out, or say --skip-unfit; nothing was started, and the same line again goes on")
    for site in sites:
        hear(site)
    tell(f"{sum(len(site.commands) for site in sites)} node(s) on {len(sites)} host(s)")
    fleet = SSHCluster(sites, lambda: hosts_of(path), admit, talk.tell, lambda *who: drain_process(job.share, *who),
                  job.manifest.lease + PATIENCE_S)
    try:
        with fleet:
            follow(job, lambda: fleet.counts and not over(job), talk)
    except KeyboardInterrupt as asked:
        tell(f"not following any more; the nodes go on. The same line again follows them; to end them: coordinator.py "
                   f"drain {job.share.layout.root}")
        sys.exit(stopped_code(asked))
    return logs


def drain_process(share: SharedDir, hostname: str, pid: int) -> None:
    """Ask the node with this process to finish its task and leave."""
    try:
        for name, identity in identities(share).items():
            if (identity.host, identity.pid) == (hostname, pid):
                give(share, name, ControlCommand.DRAIN)
    except (OSError, JobQueueError):
        pass  # asked again at the next look
