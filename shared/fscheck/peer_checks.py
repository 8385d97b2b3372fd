"""Checks that need several machines: races for names, the first read of a new file, and locks.

All peers of a group call each function at the same time, and all get the same findings. An unexpected error ends this
peer's check, so that no other peer waits for it.
"""

import fcntl
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.fscheck.environment import CLOCKS_S, LOCKS, call_with_timeout, offset
from shared.fscheck.finding import Finding, note, ok, probe, unfit
from shared.fscheck.local_checks import WRONG_CONTENT, ScratchDir
from shared.fscheck.peer_group import POLL_INTERVAL_S, PeerGroup
from shared.mount import Mount

START_S = 5.0  # maximum wait for the signal to start
SAMPLE = 20  # one of so many names of a race is read back
FILES, FILE_BYTES = 20, 1 << 16  # that each peer publishes while the others read
FILES_S = 65.0  # maximum time until all are seen: an NFS client may cache a directory for 60 s


@dataclass(frozen=True)
class PeerInfo:
    """Facts about all peers. `local`: all have the directory on a local file system."""

    machines: int
    local: bool
    hard_links: bool


def exchange_info(group: PeerGroup, scratch: ScratchDir, mount: Mount | None) -> tuple[PeerInfo, list[Finding]]:
    """Exchange facts about the peers, and report differences."""
    answers = group.all_gather(
        "hello",
        {
            "machine": group.identity.boot or group.identity.host,
            "kind": mount.kind if mount else "?",
            "local": bool(mount and mount.local),
            "links": scratch.hard_links,
            "ahead": offset(scratch),
        },
    )
    info = PeerInfo(
        len({one["machine"] for one in answers}),
        all(one["local"] for one in answers),
        all(one["links"] for one in answers),
    )
    kinds = Counter(one["kind"] for one in answers)
    findings = [_peers(len(answers), info.machines, kinds), _clocks([one["ahead"] for one in answers])]
    if len({one["links"] for one in answers}) > 1:
        findings.append(_differing_links())
    return info, findings


@probe("peers")
def _peers(count: int, machines: int, kinds: Counter[str]) -> Finding:
    mounted = ", ".join(f"{kind} on {number}" if len(kinds) > 1 else kind for kind, number in kinds.items())
    figure = f"{count} on {machines} machine{'s' * (machines > 1)}, mounted as {mounted}"
    return ok(figure) if machines > 1 else note(figure, "start the peers on several machines to check those, too")


@probe("clocks")
def _clocks(ahead: list[float]) -> Finding:
    apart = max(ahead) - min(ahead)
    figure = f"the peers' differ by {apart:.1f} s"
    return note(figure, "nodes compare no clocks, but times in logs will differ") if apart > CLOCKS_S else ok(figure)


@probe("hard links of all")
def _differing_links() -> Finding:
    return unfit("only some peers have them", "nodes would claim in two ways: mount it alike everywhere")


# ---- races
@dataclass(frozen=True)
class ClaimRace:
    """The result of a race: the numbers of the names that each member won, and the errors that stopped members."""

    won: list[list[int]]
    errors: list[str]

    def finding(self, group: PeerGroup, names: int, wrong: int = 0) -> Finding:
        winners = Counter(number for numbers in self.won for number in numbers)
        twice = sum(count > 1 for count in winners.values())
        if self.errors:
            return unfit(
                self.errors[0], "nodes do this with each other's files: correct permissions, or mount it again"
            )
        if twice or wrong:
            return unfit(
                f"{twice} of {names} names had two winners, {wrong} of those read back had a wrong content",
                WRONG_CONTENT,
            )
        if len(winners) < names:
            return note(
                f"{names - len(winners)} of {names} names had no winner",
                "replies were lost; nodes check again then",
            )
        shares = " + ".join(str(len(numbers)) for numbers in self.won)
        return ok(f"{names} names, each won by exactly one of {len(group.members)} ({shares})")


def _run(group: PeerGroup, way: str, names: Iterable[int], step: Callable[[int], None]) -> ClaimRace:
    """Do a step with every name in turn, while the other peers do the same."""
    system, start = group.system, group.shared_dir / f"shot.{way}"
    group.all_gather(f"{way} begins")
    if group.number == 0:
        system.write_new(start, b"")
    end = system.monotonic() + START_S
    while not system.exists(start) and system.monotonic() < end:
        pass  # without a pause: all peers must start at the same time
    won, error, ahead, behind = [], "", deque(names), deque()
    while not error and (ahead or behind):
        number = (ahead or behind).popleft()
        try:
            step(number)
            won.append(number)
        except (FileExistsError, FileNotFoundError):  # another peer was faster
            behind.extend(
                ahead.popleft() for _ in range(bool(ahead))
            )  # skip a name to catch up; otherwise the other peer would win all the rest
        except OSError as other:
            error = f"{other.strerror} ({group.identity.host})"
    answers = group.all_gather(way, [won, error])
    return ClaimRace([won for won, _ in answers], [error for _, error in answers if error])


def race(group: PeerGroup, scratch: ScratchDir, names: int) -> list[Finding]:
    """All peers try to create each name, to link to it, and to rename it; then each links back what it has renamed."""
    system, shared_dir = scratch.system, group.shared_dir
    system.make_dirs(shared_dir, below=shared_dir.parent)
    findings = []

    def put(number: int) -> None:
        system.write_new(shared_dir / f"created.{number}", f"{number} {group.me}".encode())

    create = _run(group, "create", range(names), put)
    winner = {f"{n} {peer}" for peer, numbers in zip(group.members, create.won) for n in numbers}
    held = [
        system.read(shared_dir / f"created.{n}").decode(errors="replace")
        for n in range(0, names, SAMPLE)
        if not create.errors
    ]
    wrong = max(group.all_gather("read back", sum(one not in winner for one in held)))
    findings.append(_to_create(create, group, names, wrong, scratch.hard_links))
    if create.errors:
        return findings

    if scratch.hard_links:
        mine = scratch.file()
        link = _run(group, "link", range(names), lambda n: system.link(mine, shared_dir / f"linked.{n}"))
        findings.append(_to_link(link, group, names))
    aside = [scratch.name() for _ in range(names)]
    move = _run(group, "move", range(names), lambda n: system.rename(shared_dir / f"created.{n}", aside[n]))
    findings.append(_to_move(move, group, names))
    moved = move.won[group.number][:SAMPLE]
    back = system.link if scratch.hard_links else system.rename
    again = _run(group, "back", moved, lambda n: back(aside[n], shared_dir / f"back.{n}"))
    findings.append(_undo(again, sum(len(numbers[:SAMPLE]) for numbers in move.won)))
    return findings


@probe("race to create")
def _to_create(create: ClaimRace, group: PeerGroup, names: int, wrong: int, hard_links: bool) -> Finding:
    finding = create.finding(group, names, wrong)
    if finding.cure == WRONG_CONTENT and hard_links:
        return note(finding.figure, "nodes claim by hard links here, so they do not need it; other programs may")
    return finding


@probe("race to link")
def _to_link(link: ClaimRace, group: PeerGroup, names: int) -> Finding:
    return link.finding(group, names)


@probe("race to move away")
def _to_move(move: ClaimRace, group: PeerGroup, names: int) -> Finding:
    return move.finding(group, names)


@probe("others' files")
def _undo(back: ClaimRace, count: int) -> Finding:
    done = sum(map(len, back.won))
    if back.errors or done != count:
        return unfit(
            back.errors[0] if back.errors else f"{done} of {count} came back",
            "nodes must rename each other's files: chgrp GROUP, chmod g+rwxs the directory, all users in GROUP",
        )
    return ok(f"{done} files of other peers were renamed and linked back")


# ---- the first read of a new file
def check_publish(group: PeerGroup, scratch: ScratchDir) -> Finding:
    """All peers publish files, and read those of the others as soon as they see them."""
    system, place = scratch.system, group.shared_dir / "published"
    system.make_dirs(place, below=group.shared_dir)
    group.all_gather("publish begins")
    publish = system.link if scratch.hard_links else system.rename
    seen, broken, wanted, end = set(), 0, FILES * len(group.members), system.monotonic() + FILES_S
    published = 0
    while (published < FILES or len(seen) < wanted) and system.monotonic() < end:
        if published < FILES:
            content = os.urandom(FILE_BYTES)
            draft = scratch.name()
            system.write_new(draft, content)
            publish(draft, place / hashlib.sha256(content).hexdigest())
            published += 1
        else:
            group.require_members()
            system.sleep(POLL_INTERVAL_S)
        for name in set(system.list(place)) - seen:
            try:
                broken += hashlib.sha256(system.read(place / name)).hexdigest() != name
                seen.add(name)
            except FileNotFoundError:
                pass  # listed, but it cannot be opened yet: try again, as nodes do
    answers = group.all_gather("publish", [broken, wanted - len(seen)])
    return _complete(wanted, sum(broken for broken, _ in answers), sum(missing for _, missing in answers))


@probe("first read")
def _complete(files: int, broken: int, missing: int) -> Finding:
    if broken or missing:
        return unfit(
            f"of {files} published files, {broken} reads got a part, {missing} got nothing in {FILES_S:.0f} s",
            WRONG_CONTENT,
        )
    return ok(f"{files} published files were complete when first seen")


# ---- locks
def try_locks(group: PeerGroup, scratch: ScratchDir) -> Finding:
    """The first peer locks a file, the others try to. Nodes use no locks on the shared directory."""
    held = []

    def attempt(name: str) -> str:
        file = open(group.shared_dir / name, "r+b")
        held.append(file)
        try:
            getattr(fcntl, name)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return "refused"
        return "granted"

    def attempts() -> list[str]:
        return [call_with_timeout(attempt, name) for name in LOCKS]

    mine: list[str] | None = None
    if group.number == 0:
        scratch.system.make_dirs(group.shared_dir)
        for name in LOCKS:
            scratch.system.write_new(group.shared_dir / name, b"")
        mine = attempts()
    group.all_gather("locked")
    answers = group.all_gather("lock", attempts() if mine is None else mine)
    for file in held:
        file.close()
    return _locks(answers[0], answers[1:])


@probe("locks of others")
def _locks(holders: list[str], others: list[list[str]]) -> Finding:
    words = []
    for number, (name, holder) in enumerate(zip(LOCKS, holders)):
        answers = {one[number] for one in others}
        if holder != "granted" or answers - {"granted", "refused"}:
            words.append(f"{name} does not work ({', '.join(sorted((answers | {holder}) - {'granted', 'refused'}))})")
        else:
            words.append(f"{name} does not exclude others" if "granted" in answers else f"{name} excludes others")
    figure = ", ".join(words)
    return note(figure, "nodes need none; other programs may") if "not" in figure else ok(figure)
