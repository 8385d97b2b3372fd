"""The command of the file system check: one line per property, then advice."""

import math
import socket
import sys
from dataclasses import replace
from pathlib import Path

from shared.startup import checked_imports

with checked_imports():
    import click

    from shared.command_names import command
    from shared.errors import JobQueueError, sanitize
    from shared.filesystem import FileSystem
    from shared.fscheck import environment, peer_checks, visibility
    from shared.fscheck.finding import Finding, Verdict, failed, unfit
    from shared.fscheck.local_checks import NEEDED, QUICK, ScratchDir
    from shared.fscheck.peer_group import PeerGroup, UncheckedError
    from shared.mount import Mount, mount_of
    from shared.option_types import NumberType, WholeType
    from shared.settings import HEARTBEAT_S, LEASE_S, POLL_S
    from shared.shared_dir import open_share
    from shared.terminal import ended_by_signals, open_streams

EXIT_UNFIT, EXIT_UNKNOWN, EXIT_STOPPED = 1, 2, 130
DIRECTORY_NAME = "check-share"
SAFETY_FACTOR = 3  # times the longest usual silence: a machine may be busy, a heartbeat may be lost
RECONNECT_S = 60.0  # within which clients reconnect after an outage of the server


def _say(line: str) -> None:
    """Print a line that may contain text from other peers."""
    click.echo(sanitize(line, 1000))


class FindingLog:
    """The findings so far. Each is printed at once."""

    def __init__(self):
        self.findings: list[Finding] = []

    def add(self, *findings: Finding) -> None:
        for finding in findings:
            self.findings.append(finding)
            _say(str(finding))

    def of(self, verdict: Verdict) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict is verdict]

    @property
    def unfit(self) -> bool:
        return bool(self.of(Verdict.UNFIT))


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("shared", envvar="FAV_SHARE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--peers",
    type=WholeType(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Check together with others: type the same line on N machines.",
)
@click.option(
    "--wait",
    "timeout_s",
    type=NumberType(1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a peer that does not come or falls silent.",
)
@click.option("--names", type=WholeType(1), default=1000, show_default=True, help="How many names the peers race for.")
@click.option("--quick", is_flag=True, help="Only what every node checks when it joins.")
def main(shared: Path, peers: int, timeout_s: float, names: int, quick: bool) -> None:
    """Check whether a mount can be used for jobs.

    The command checks what the nodes rely on in the directory SHARED. It says what to do about each problem, and which
    lease to use. It works in SHARED/check-share, which it removes again; running jobs are not affected. Exit code 0:
    fit, 1: unfit, 2: not all could be checked.
    """
    open_streams()
    table, advice, lost = FindingLog(), (), ""
    click.echo(f"{shared}, seen from {socket.gethostname()}\n")
    try:
        with ended_by_signals():
            advice = check(table, shared.resolve(), peers, timeout_s, names, quick)
    except UncheckedError as error:
        lost = f"error: {error}"
    except JobQueueError as error:
        table.add(replace(unfit("refused", str(error)), what="working here"))
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        sys.exit(EXIT_STOPPED)
    _print_summary(table, advice)
    if lost:
        click.echo(lost, err=True)
    sys.exit(EXIT_UNFIT if table.unfit else EXIT_UNKNOWN if lost else 0)


def check(table: FindingLog, shared: Path, peers: int, timeout_s: float, names: int, quick: bool) -> tuple[str, ...]:
    """Add findings to the table until one is unfit.

    Returns:
        The last lines of the output; empty if something is unfit.

    Raises:
        UncheckedError: a peer is gone, or all peers were on one machine of several that mount the directory.
        JobQueueError: the directory cannot be used as a shared directory.
    """
    mount = mount_of(shared)
    local = mount is not None and mount.local
    table.add(environment.mounted(mount, peers == 1), environment.permissions(FileSystem(), shared))
    if table.unfit:
        return ()
    system = open_share(shared, hard_links=True).system  # with the modes and group of nodes; writes nothing
    try:
        with PeerGroup(system, shared / DIRECTORY_NAME, peers, timeout_s, _say) as group:
            scratch = ScratchDir.at(system, group.place / "ground")
            for probe in QUICK if quick else (*NEEDED, *environment.INFO_CHECKS):
                finding = probe(scratch)
                if finding.error is not None:
                    group.require_directories()
                table.add(finding)
            if quick or table.unfit:
                return ("fit, according to the quick check",)
            if peers > 1:
                return check_together(table, group, scratch, mount, names)
    except OSError as error:
        table.add(failed(error))
        return ()
    if local:
        return "fit: nodes of this machine can work here", _lease(True, None)
    return (
        f"fit, according to one machine; now run {command('check-fs')} {shared} --peers N on N machines at the same time",
        _lease(False, None),
    )


def check_together(
    table: FindingLog, group: PeerGroup, scratch: ScratchDir, mount: Mount | None, names: int
) -> tuple[str, ...]:
    """The part of `check` that all peers run at the same time."""
    group.join()
    try:
        info, findings = peer_checks.exchange_info(group, scratch, mount)
        table.add(*findings)
        if table.unfit:
            group.leave()
            return ()
        table.add(*peer_checks.race(group, scratch, names))
        table.add(peer_checks.check_publish(group, scratch))
        click.echo("measuring when other machines see changes: up to a minute")
        findings, delay = visibility.watch(group, scratch)
        table.add(*findings, peer_checks.try_locks(group, scratch))
        group.leave()
    except OSError:
        group.require_directories()  # if one is gone, that says nothing about the file system
        raise
    if table.unfit or info.machines > 1:
        return "fit: nodes can work here", _lease(info.local, delay)
    if info.local:
        return "fit: nodes of this machine can work here", _lease(True, None)
    raise UncheckedError(
        f"expected peers on several machines, got {group.wanted} on one, where all was fit; what other machines see was "
        f"not checked: type the same line on each of them"
    )


def _lease(local: bool, delay: float | None) -> str:
    seconds, why = recommend_lease(local, delay)
    if seconds < LEASE_S:
        return f"lease: --lease {seconds:.0f} is enough ({why}); the default is {LEASE_S:.0f}"
    if seconds > LEASE_S:
        return f"lease: --lease {seconds:.0f} is needed ({why})"
    return f"lease: keep the default, {LEASE_S:.0f} s: {why}"


def _print_summary(table: FindingLog, advice: tuple[str, ...]) -> None:
    """Print the last lines: the cures of all findings, and the advice."""
    click.echo()
    for finding in table.of(Verdict.NOTE):
        _say(f"note: {finding.what.strip(' …')}: {finding.cure}")
    for finding in table.of(Verdict.UNFIT):
        _say(f"unfit: {finding.what.strip(' …')}: {finding.figure}: {finding.cure}")
    for line in () if table.unfit else advice:
        click.echo(line)


def recommend_lease(local: bool, delay: float | None) -> tuple[float, str]:
    """Recommend a lease.

    Args:
        local: all peers have the directory on a local file system.
        delay: seconds after which other machines saw a heartbeat; None if no other machine took part.

    Returns:
        The lease in seconds, and the reason.
    """
    if delay is None and not local:
        return LEASE_S, "it was not seen from other machines"
    silence = HEARTBEAT_S + POLL_S + (delay or 0.0)
    seconds = max(SAFETY_FACTOR * silence, 0.0 if local else RECONNECT_S)
    why = f"{SAFETY_FACTOR} times a silence of {silence:.1f} s"
    if not local:
        why += f", at least {RECONNECT_S:.0f} s for an outage of the server"
    return math.ceil(seconds / 10) * 10.0, why


if __name__ == "__main__":
    main(prog_name="check-share")
