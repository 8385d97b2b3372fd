"""Run a job on a list of hosts by ssh: check all of them first, then start, follow and restart nodes."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fav.launch.errors import LaunchError
from fav.launch.executor import log_that_nodes_continue
from fav.launch.hosts_file import Host, read_hosts
from fav.launch.preflight import HostChecker, HostRejected, print_reports
from fav.launch.ssh_cluster import ReadyHost, SSHCluster
from fav.util.reading import read_file
from shared.control import ControlCommand, send
from shared.errors import JobQueueError
from shared.identity import identities
from shared.jobs import Job, is_ended
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 20  # of a hosts file
TIMEOUT_S = 60.0  # beyond the lease: how long a run waits when no host answers


def hosts_of(path: Path) -> list[Host]:
    """Read the hosts file. Raises FavError if it has no hosts, or an invalid line."""
    try:
        hosts = read_hosts(read_file(path, f"--hosts {path}", MAX_BYTES).decode(errors="replace"), str(path))
    except OSError as error:
        raise LaunchError(f"{path}: expected a file of hosts, one per line ({error.strerror})") from None
    if not hosts:
        raise LaunchError(f"{path}: expected one host per line, got none")
    return hosts


class SSHExecutor:
    """An `Executor`: nodes on the hosts of a file. They outlive the command.

    Args:
        path: the hosts file.
        backend: of the nodes.
        skip_failed_hosts: start if at least one host passes the check.
        log: log options of the nodes.
    """

    def __init__(self, path: Path, backend: str, skip_failed_hosts: bool, log: Sequence[str] = ()):
        self.path, self.backend, self.skip_failed_hosts, self.log = path, backend, skip_failed_hosts, log
        self.logs: list[Path] = []

    @contextmanager
    def ready(self) -> Iterator[None]:
        hosts_of(self.path)
        yield

    def start(self, job: Job, log_tail: "LogTail") -> SSHCluster:
        """Check the hosts, then start nodes on them."""
        self._job, self._log_tail, self._checker = job, log_tail, HostChecker(job, self.backend, self.log)
        found = self._checker.check(hosts_of(self.path))
        sites = [one for one in found.values() if isinstance(one, ReadyHost)]
        if len(sites) < len(found):
            print_reports(found)
        if len(sites) < len(found) and not (self.skip_failed_hosts and sites):
            raise LaunchError(
                f"{self.path}: expected all hosts to pass the check, got {len(found) - len(sites)} of {len(found)} that "
                f"failed; correct that, remove them, or use --skip-failed-hosts; nothing was started, and the same "
                f"command continues"
            )
        for site in sites:
            self._add_logs(site)
        logger.info("%d node(s) on %d host(s)", sum(len(site.commands) for site in sites), len(sites))
        self._cluster = SSHCluster(
            sites,
            lambda: hosts_of(self.path),
            self._check_host,
            lambda *who: drain_process(job.share, *who),
            job.manifest.lease + TIMEOUT_S,
        )
        return self._cluster

    def running(self) -> bool:
        return self._cluster.has_active_nodes and not is_ended(self._job)

    def interrupted(self) -> None:
        log_that_nodes_continue(self._job)

    def _check_host(self, host: Host) -> ReadyHost:
        """Check a host that was added later. Raises LaunchError if it is rejected."""
        try:
            found = self._checker.check([host])[host]
        except OSError as error:  # a temporary error of the share
            raise LaunchError(f"it could not be checked ({error.strerror})") from None
        if isinstance(found, HostRejected):
            raise LaunchError("; ".join(found.wrong))
        self._add_logs(found)
        return found

    def _add_logs(self, site: ReadyHost) -> None:
        for name in site.commands:
            self.logs.append(self._job.share.layout.logs / f"{name}.log")
            self._log_tail.add(self.logs[-1])


def drain_process(share: SharedDir, hostname: str, pid: int) -> None:
    """Ask the node with this process to finish its task and leave."""
    try:
        for name, identity in identities(share).items():
            if (identity.host, identity.pid) == (hostname, pid):
                send(share, name, ControlCommand.DRAIN)
    except (OSError, JobQueueError):
        pass  # asked again at the next poll
