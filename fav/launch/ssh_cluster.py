"""Nodes of one job on the hosts of a hosts file, which is read repeatedly while they work.

Each host has its own thread, so that a host that hangs does not block the others.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fav.launch.hosts_file import Host
from fav.launch.remote_process import LaunchRefusedError, ProcessState, query, start
from fav.launch.ssh import UnreachableError
from shared.errors import UserError

logger = logging.getLogger(__name__)

ROUND_S = 10.0  # between two polls of a host, and of the hosts file
RECHECK_S = 60.0  # after which a rejected host is checked again
MAX_RESTARTS = 3  # of a node that dies
WORDS = {  # exit codes after which a node is not started again
    0: None, 1: "gave up; its log says why", 2: "cannot work there; its log says why", 130: "was asked to leave",
}  # fmt: skip


@dataclass(frozen=True)
class ReadyHost:
    """A host that passed the preflight. `commands`: the command of each node's process, by name."""

    host: Host
    hostname: str  # as its nodes have it
    path: str
    logs: str
    commands: dict[str, list[str]]


class HostMonitor(threading.Thread):
    """Keeps the nodes of one host running.

    Args:
        site: the host.
        leave: (hostname, pid) asks a node to finish its task and leave.
        timeout_s: seconds without an answer after which its nodes count as inactive.
    """

    def __init__(self, site: ReadyHost, leave: Callable[[str, int], None], timeout_s: float):
        super().__init__(daemon=True)
        self.site = site
        self.leave = leave
        self.timeout_s = timeout_s
        self.leaving = threading.Event()
        self.over = threading.Event()
        self.open = dict.fromkeys(site.commands, 0)  # name of a process that runs or will run -> number of restarts
        self._met: set[str] = set()  # names of processes that were seen or started
        self._silent_since: float | None = None

    @property
    def has_active_nodes(self) -> bool:
        """Whether a node runs there, or will."""
        silent = self._silent_since is not None and time.monotonic() - self._silent_since > self.timeout_s
        return bool(self.open) and not silent

    def run(self) -> None:
        while self.open and not self.over.is_set():
            try:
                self._round()
                if self._silent_since is not None:
                    self._silent_since = None
                    self._log(logging.INFO, "answers again")
            except UnreachableError as error:
                if self._silent_since is None:
                    self._silent_since = time.monotonic()
                    self._log(logging.WARNING, f"{error} (its nodes, if they run, continue)")
            self.over.wait(ROUND_S)

    def _round(self) -> None:
        site = self.site
        for name, state in query(site.host, site.logs, list(self.open)).items():
            if state.how == "runs":
                self._met.add(name)
                if self.leaving.is_set() and state.number is not None:
                    self.leave(site.hostname, state.number)
            elif name in self._met and state.how == "ended" and state.number in WORDS:
                del self.open[name]
                if word := WORDS[state.number]:
                    self._log(logging.WARNING, f"the node {name} {word}")
            elif self.leaving.is_set():
                del self.open[name]
            else:
                self._start(name, state)

    def _start(self, name: str, state: ProcessState) -> None:
        if name in self._met:
            how = f"ended with exit code {state.number}" if state.how == "ended" else "died"
            if self.open[name] == MAX_RESTARTS:
                del self.open[name]
                self._log(logging.ERROR, f"the node {name} {how} too often; giving up")
                return
            self.open[name] += 1
            again = f"starting it again ({self.open[name]} of {MAX_RESTARTS} times)"
            self._log(logging.WARNING, f"the node {name} {how}; {again}")
        self._met.add(name)
        try:
            start(self.site.host, self.site.path, self.site.logs, name, self.site.commands[name])
        except LaunchRefusedError as error:
            self._log(logging.WARNING, str(error))

    def _log(self, level: int, line: str) -> None:
        logger.log(level, "%s: %s", self.site.host.name, line)


class SSHCluster:
    """All hosts of a job.

    Args:
        sites: the hosts to start with.
        read: the hosts of the hosts file now.
        check_host: checks a new host. Raises UserError if it is rejected.
        leave: as for `HostMonitor`.
        timeout_s: as for `HostMonitor`.
    """

    def __init__(
        self,
        sites: list[ReadyHost],
        read: Callable[[], list[Host]],
        check_host: Callable[[Host], ReadyHost],
        leave: Callable[[str, int], None],
        timeout_s: float,
    ):
        self.read, self.check_host, self.leave, self.timeout_s = read, check_host, leave, timeout_s
        self._monitors = {site.host: self._monitor(site) for site in sites}
        self._refused: dict[Host, tuple[str, float]] = {}  # host -> why, and when
        self._in_check: set[Host] = set()  # hosts that a thread is checking
        self._error = ""  # of the hosts file
        self._awaited = False  # whether there are hosts that have not joined yet
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "SSHCluster":
        for monitor in self._monitors.values():
            monitor.start()
        self._reader.start()
        return self

    def __exit__(self, *why) -> None:
        """Stop following the nodes; they continue."""
        self._over.set()
        for monitor in self._monitors.values():
            monitor.over.set()

    @property
    def has_active_nodes(self) -> bool:
        """Whether a node runs somewhere, or will."""
        return self._awaited or any(monitor.has_active_nodes for monitor in list(self._monitors.values()))

    def _monitor(self, site: ReadyHost) -> HostMonitor:
        return HostMonitor(site, self.leave, self.timeout_s)

    def _run(self) -> None:
        while not self._over.wait(ROUND_S):
            try:
                wanted = self.read()
            except UserError as error:  # the user may be writing it
                if str(error) != self._error:
                    self._error = str(error)
                    logger.warning("%s (the hosts before this change stay)", error)
                continue
            self._error = ""
            self._awaited = any(host not in self._refused and self._is_new(host) for host in wanted)
            self._drain(set(self._monitors) - set(wanted))
            for host in filter(self._should_recheck, wanted):
                self._in_check.add(host)
                threading.Thread(target=self._add_host, args=(host,), daemon=True).start()

    def _drain(self, hosts: set[Host]) -> None:
        for host in hosts:
            monitor = self._monitors[host]
            if not monitor.leaving.is_set():
                monitor.leaving.set()
                logger.info("%s: no longer in the hosts file; its nodes finish their frame and leave", host.name)

    def _is_new(self, host: Host) -> bool:
        """Whether a host must be added, or added again."""
        return host not in self._monitors or self._monitors[host].leaving.is_set()

    def _should_recheck(self, host: Host) -> bool:
        """Whether to check a host now. Its earlier nodes must have left, because their processes have the same names."""
        still_there = any(known.label == host.label and monitor.is_alive() for known, monitor in self._monitors.items())
        refused = self._refused.get(host)
        return (
            self._is_new(host)
            and not still_there
            and host not in self._in_check
            and (refused is None or time.monotonic() - refused[1] > RECHECK_S)
        )

    def _add_host(self, host: Host) -> None:
        try:
            site = self.check_host(host)
        except UserError as error:
            if self._refused.get(host, ("",))[0] != str(error):
                logger.warning("%s: %s (it is checked again every minute)", host.name, error)
            self._refused[host] = str(error), time.monotonic()
            return
        finally:
            self._in_check.discard(host)
        if not self._over.is_set():
            monitor = self._monitor(site)
            logger.info("%s: joins", host.name)
            monitor.start()
            self._monitors = {**self._monitors, host: monitor}
