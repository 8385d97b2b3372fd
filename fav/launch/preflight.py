"""Check all hosts in parallel before work starts, and show failed checks in one table."""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from fav.launch import ssh
from fav.launch.host_probe import HostReport, ProbeRequest
from fav.launch.hosts_file import Host
from fav.launch.program import REMOTE_NODE, REMOTE_PATH, python_in
from fav.launch.remote_process import EXIT_REFUSED, process_name
from fav.launch.ssh_cluster import ReadyHost
from fav.util.table import show_table
from shared.errors import sanitize
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.source_hash import version

MAX_PARALLEL = 32  # hosts that are checked at the same time

SCRIPT = r"""
cd -- "$path" 2> /dev/null || {
    echo "$path: expected the checkout there, found none (a hosts file: path= says where it is)" >&2
    exit 64
}
command -v "$python" > /dev/null || {
    echo "$python: expected Python there, found none; bash install.sh in $path there" \
        "(a hosts file: python= says where one is)" >&2
    exit 64
}
exec "$python" -m fav.launch.host_probe "$request"
"""


@dataclass(frozen=True)
class HostRejected:
    """A host on which no node can be started. `wrong`: a line for each failed check."""

    wrong: tuple[str, ...]


class HostChecker:
    """Checks hosts for one job. One pass reports all problems of a host, so that they can be corrected together."""

    def __init__(self, job: Job, backend: str, log: Sequence[str] = ()):
        self.job = job
        self.root = job.share.layout.root
        self.backend = backend
        self.log = log  # options of the logs of the nodes
        self.version = version()

    def check(self, hosts: list[Host]) -> dict[Host, ReadyHost | HostRejected]:
        """Check these hosts in parallel."""
        with self._nonce_file() as (nonce_file, nonce), ThreadPoolExecutor(MAX_PARALLEL) as pool:
            return dict(zip(hosts, pool.map(lambda host: self._check(host, nonce_file, nonce), hosts)))

    @contextmanager
    def _nonce_file(self) -> Iterator[tuple[str, str]]:
        """A file that identifies our shared directory for a host: its path below the root, and its content."""
        with temporary_member(self.job.share) as node:
            path, nonce = node.temp_path(), secrets.token_hex(16)
            self.job.share.system.write_new(path, nonce.encode())
            yield path.relative_to(self.root).as_posix(), nonce

    def _check(self, host: Host, nonce_file: str, nonce: str) -> ReadyHost | HostRejected:
        path, python, share = places(host, self.root)
        try:
            report = parse_report(
                ssh.run(host, self.script(path, python, share, nonce_file, nonce, host.devices)), path
            )
        except ssh.UnreachableError as error:
            return HostRejected((str(error),))
        if isinstance(report, HostRejected):
            return report
        cores = max(1, report.cores // len(host.devices))
        command = [
            python,
            *REMOTE_NODE,
            share,
            "--job",
            self.job.name,
            "--cores",
            str(cores),
            "--label",
            host.label[:80],
            "--backend",
            self.backend,
            *self.log,
        ]
        commands = {
            process_name(self.job.name, host, number): [*command, "--device", device]
            for number, device in enumerate(host.devices)
        }
        return ReadyHost(host, report.host, path, f"{share}/logs", commands)

    def script(self, path: str, python: str, share: str, nonce_file: str, nonce: str, devices: tuple[str, ...]) -> str:
        """The shell script that checks a machine from the checkout `path`. `parse_report` reads its output."""
        request = ProbeRequest(share, nonce_file, nonce, self.job.name, self.version, devices, self.backend)
        return f"path={ssh.quoted(path)} python={ssh.quoted(python)} request={ssh.quoted(request.to_json())}{SCRIPT}"


def parse_report(done: CompletedProcess[str], path: str) -> HostReport | HostRejected:
    """Parse the output of the script of `HostChecker`, which ran in the checkout `path`."""
    report = HostReport.read(done.stdout)
    if report is None:
        return HostRejected((_without_report(done.returncode, done.stderr, path),))
    return HostRejected(report.wrong) if report.wrong else report


def places(host: Host, root: Path) -> tuple[str, str, str]:
    """The checkout, the Python and the shared directory on a host; by default as on this machine."""
    path = host.path or REMOTE_PATH
    return path, host.python or python_in(path), host.share or str(root)


def _without_report(code: int, said: str, path: str) -> str:
    lines = said.strip().splitlines()
    last = sanitize(lines[-1], 300) if lines else f"exit code {code}"
    if code == EXIT_REFUSED:
        return last
    if "No module named" in last:
        return (
            f"{path}: {last}: an older version, or not installed; install the same version there, then bash install.sh"
        )
    return f"{path}: the preflight did not run there: {last}"


def print_reports(found: dict[Host, ReadyHost | HostRejected]) -> None:
    """Print one table with the failed checks of all hosts."""
    show_table(
        ("host", "what is wrong"),
        [
            (host.name, "\n".join(one.wrong) if isinstance(one, HostRejected) else "nothing")
            for host, one in found.items()
        ],
        stderr=True,
    )
