"""What only several machines can see: who is there, who wins a name, what a first look at a new file finds, who locks.

Each function is called by all peers of a circle at once, and all come to the same findings. An error that is not
part of the question ends this peer's check, so that no other waits for it.
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

SHOT_S = 5.0  # to wait for the starting shot
SAMPLE = 20  # of so many names that were raced for, one is read back
FILES, FILE_BYTES = 20, 1 << 16  # that each peer publishes under the others' eyes
FILES_S = 65.0  # for all to be seen: an NFS client may remember what it saw for 60 s


@dataclass(frozen=True)
class PeerInfo:
    """What the peers have in common. `local`: all see the directory as a file system of their own machine."""

    machines: int
    local: bool
    hard_links: bool


def exchange_info(group: PeerGroup, scratch: ScratchDir, mount: Mount | None) -> tuple[PeerInfo, list[Finding]]:
    """Who takes part, and in what they differ."""
    told = group.all_gather(
        "hello",
        {
            "machine": group.identity.boot or group.identity.host,
            "kind": mount.kind if mount else "?",
            "local": bool(mount and mount.local),
            "links": scratch.hard_links,
            "ahead": offset(scratch),
        },
    )
    party = PeerInfo(
        len({one["machine"] for one in told}), all(one["local"] for one in told), all(one["links"] for one in told)
    )
    kinds = Counter(one["kind"] for one in told)
    findings = [_peers(len(told), party.machines, kinds), _clocks([one["ahead"] for one in told])]
    if len({one["links"] for one in told}) > 1:
        findings.append(_differing_links())
    return party, findings


@probe("peers")
def _peers(count: int, machines: int, kinds: Counter[str]) -> Finding:
    mounted = ", ".join(f"{kind} on {number}" if len(kinds) > 1 else kind for kind, number in kinds.items())
    figure = f"{count} on {machines} machine{'s' * (machines > 1)}, mounted as {mounted}"
    return ok(figure) if machines > 1 else note(figure, "start the peers on several machines to learn what those see")


@probe("clocks")
def _clocks(ahead: list[float]) -> Finding:
    apart = max(ahead) - min(ahead)
    figure = f"the peers' differ by {apart:.1f} s"
    return (
        note(figure, "no node compares clocks; people who read times and logs do") if apart > CLOCKS_S else ok(figure)
    )


@probe("hard links of all")
def _differing_links() -> Finding:
    return unfit("some peers have them, others have not", "nodes would claim in two ways: mount it alike everywhere")


# ---- who wins
@dataclass(frozen=True)
class ClaimRace:
    """Numbers of the names that each member won, and the errors that ended the race of some."""

    won: list[list[int]]
    errors: list[str]

    def finding(self, group: PeerGroup, names: int, spoilt: int = 0) -> Finding:
        winners = Counter(number for numbers in self.won for number in numbers)
        twice = sum(count > 1 for count in winners.values())
        if self.errors:
            return unfit(
                self.errors[0], "this is what nodes do to each other's files: correct permissions, or mount it again"
            )
        if twice or spoilt:
            return unfit(
                f"{twice} of {names} names had two winners, {spoilt} of those read back were spoilt", WRONG_CONTENT
            )
        if len(winners) < names:
            return note(
                f"{names - len(winners)} of {names} names were won by nobody",
                "replies were lost; nodes look again then",
            )
        shares = " + ".join(str(len(numbers)) for numbers in self.won)
        return ok(f"{names} names, each won by exactly one of {len(group.members)} ({shares})")


def _run(group: PeerGroup, way: str, names: Iterable[int], step: Callable[[int], None]) -> ClaimRace:
    """Do a step with every name in turn, while the others do the same."""
    system, shot = group.system, group.shared_dir / f"shot.{way}"
    group.all_gather(f"{way} begins")
    if group.number == 0:
        system.write_new(shot, b"")
    end = system.monotonic() + SHOT_S
    while not system.exists(shot) and system.monotonic() < end:
        pass  # not even a pause: all have to run at once, or there is no race
    won, error, ahead, behind = [], "", deque(names), deque()
    while not error and (ahead or behind):
        number = (ahead or behind).popleft()
        try:
            step(number)
            won.append(number)
        except (FileExistsError, FileNotFoundError):  # another was faster:
            behind.extend(
                ahead.popleft() for _ in range(bool(ahead))
            )  # leap to where it is, or it wins all the rest unopposed
        except OSError as other:
            error = f"{other.strerror} ({group.identity.host})"
    told = group.all_gather(way, [won, error])
    return ClaimRace([won for won, _ in told], [error for _, error in told if error])


def race(group: PeerGroup, scratch: ScratchDir, names: int) -> list[Finding]:
    """Everybody wants every name: to create it, to link to it, to move it away; and links back what it has moved."""
    system, shared_dir = scratch.system, group.shared_dir
    system.make_dirs(shared_dir)
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
    spoilt = max(group.all_gather("read back", sum(one not in winner for one in held)))
    findings.append(_to_create(create, group, names, spoilt, scratch.hard_links))
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
def _to_create(create: ClaimRace, group: PeerGroup, names: int, spoilt: int, hard_links: bool) -> Finding:
    finding = create.finding(group, names, spoilt)
    if finding.cure == WRONG_CONTENT and hard_links:
        return note(finding.figure, "nodes claim by hard links here, which do not mind; other programs may")
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
            "nodes have to move each other's files: chgrp GROUP, chmod g+rwxs the directory, all users in GROUP",
        )
    return ok(f"{done} that others made were moved and given back")


# ---- what a first look finds
def check_publish(group: PeerGroup, scratch: ScratchDir) -> Finding:
    """Everybody publishes files and reads the others' as soon as they are seen."""
    system, place = scratch.system, group.shared_dir / "published"
    system.make_dirs(place)
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
            system.sleep(POLL_INTERVAL_S)
        for name in set(system.list(place)) - seen:
            try:
                broken += hashlib.sha256(system.read(place / name)).hexdigest() != name
                seen.add(name)
            except FileNotFoundError:
                pass  # listed, and cannot be opened yet: nodes ask again, too
    told = group.all_gather("publish", [broken, wanted - len(seen)])
    return _whole(wanted, sum(broken for broken, _ in told), sum(missing for _, missing in told))


@probe("first look")
def _whole(files: int, broken: int, missing: int) -> Finding:
    if broken or missing:
        return unfit(
            f"of {files} published files {broken} looks found a part, {missing} nothing in {FILES_S:.0f} s",
            WRONG_CONTENT,
        )
    return ok(f"{files} published files were whole when first seen")


# ---- locks
def try_locks(group: PeerGroup, scratch: ScratchDir) -> Finding:
    """The first peer locks, the others try. Nodes use no locks on the shared directory."""
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
    told = group.all_gather("lock", attempts() if mine is None else mine)
    for file in held:
        file.close()
    return _locks(told[0], told[1:])


@probe("locks of others")
def _locks(holders: list[str], others: list[list[str]]) -> Finding:
    words = []
    for number, (name, holder) in enumerate(zip(LOCKS, holders)):
        said = {one[number] for one in others}
        if holder != "granted" or said - {"granted", "refused"}:
            words.append(f"{name} does not work ({', '.join(sorted((said | {holder}) - {'granted', 'refused'}))})")
        else:
            words.append(f"{name} does not reach the others" if "granted" in said else f"{name} keeps the others out")
    figure = ", ".join(words)
    return note(figure, "nodes need none; other programs may") if "not" in figure else ok(figure)
