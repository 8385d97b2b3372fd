"""Running a job on a list of hosts: look at all of them first, then start, follow and start again."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fav.launch.errors import LaunchError
from fav.launch.executor import tell_nodes_go_on
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

LARGEST = 1 << 20  # bytes of a hosts file
TIMEOUT_S = 60.0  # beyond the lease: how long a run whose hosts are all out of reach waits for one to answer


def hosts_of(path: Path) -> list[Host]:
    """The hosts in a file, which is read again and again; FavError where there are none, or a line is none."""
    try:
        hosts = read_hosts(read_file(path, f"--hosts {path}", LARGEST).decode(errors="replace"), str(path))
    except OSError as error:
        raise LaunchError(f"{path}: expected a file of hosts, one a line ({error.strerror})") from None
    if not hosts:
        raise LaunchError(f"{path}: expected one host a line, got none")
    return hosts


class SSHExecutor:
    """An `Executor`: nodes on the hosts of a file. They outlive the command.

    With `skip_failed_hosts` it is enough that one host is fit. `log` are the options of the nodes' logs.
    """

    def __init__(self, path: Path, backend: str, skip_failed_hosts: bool, log: Sequence[str] = ()):
        self.path, self.backend, self.skip_failed_hosts, self.log = path, backend, skip_failed_hosts, log
        self.logs: list[Path] = []

    @contextmanager
    def ready(self) -> Iterator[None]:
        hosts_of(self.path)
        yield

    def start(self, job: Job, talk: "LogTail") -> SSHCluster:
        """Look at the hosts first."""
        self._job, self._talk, self._checker = job, talk, HostChecker(job, self.backend, self.log)
        found = self._checker.check(hosts_of(self.path))
        sites = [one for one in found.values() if isinstance(one, ReadyHost)]
        if len(sites) < len(found):
            print_reports(found)
        if len(sites) < len(found) and not (self.skip_failed_hosts and sites):
            raise LaunchError(
                f"{self.path}: expected all hosts to be fit, got {len(found) - len(sites)} of {len(found)} that are "
                f"not; mend that, take them out, or say --skip-failed-hosts; nothing was started, and the same line "
                f"again goes on"
            )
        for site in sites:
            self._hear(site)
        logger.info("%d node(s) on %d host(s)", sum(len(site.commands) for site in sites), len(sites))
        self._cluster = SSHCluster(
            sites,
            lambda: hosts_of(self.path),
            self._admit,
            lambda *who: drain_process(job.share, *who),
            job.manifest.lease + TIMEOUT_S,
        )
        return self._cluster

    def running(self) -> bool:
        return self._cluster.has_active_nodes and not is_ended(self._job)

    def interrupted(self) -> None:
        tell_nodes_go_on(self._job)

    def _admit(self, host: Host) -> ReadyHost:
        """What a host that joins later must pass, too."""
        try:
            found = self._checker.check([host])[host]
        except OSError as error:  # the share's weather
            raise LaunchError(f"it could not be looked at ({error.strerror})") from None
        if isinstance(found, HostRejected):
            raise LaunchError("; ".join(found.wrong))
        self._hear(found)
        return found

    def _hear(self, site: ReadyHost) -> None:
        for name in site.commands:
            self.logs.append(self._job.share.layout.logs / f"{name}.log")
            self._talk.hear(self.logs[-1])


def drain_process(share: SharedDir, hostname: str, pid: int) -> None:
    """Ask the node with this process to finish its task and leave."""
    try:
        for name, identity in identities(share).items():
            if (identity.host, identity.pid) == (hostname, pid):
                send(share, name, ControlCommand.DRAIN)
    except (OSError, JobQueueError):
        pass  # asked again at the next look
