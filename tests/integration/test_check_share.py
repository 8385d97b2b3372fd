"""bin/check-share: what keeps its word is called fit, whatever breaks it is named, and nothing is left behind."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click.testing
import pytest

import node as node_command
from shared.errors import JobQueueError
from shared.filesystem import NO_LINKS, FileSystem
from shared.fscheck import peer_checks, visibility
from shared.fscheck.__main__ import DIRECTORY_NAME, FindingLog, check, check_together, recommend_lease
from shared.fscheck.environment import INFO_CHECKS, mounted
from shared.fscheck.finding import Verdict
from shared.fscheck.local_checks import NEEDED, ScratchDir, check_create, check_quickly
from shared.fscheck.peer_group import PeerGroup, PeerLostError, UncheckedError
from shared.mount import Mount, mount_of
from shared.settings import LEASE_S
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import join
from tests.helpers.waiting import wait_for

MOUNTED = "1 0 0:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n"


def start(shared: Path, *options: object, **how) -> subprocess.Popen:
    command = [sys.executable, "-m", "shared.fscheck", str(shared), *map(str, options)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **how,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # ignored in the background


def run(shared: Path, *options: object) -> tuple[int, str]:
    process = start(shared, *options)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.fixture
def shared(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    return root


# ---- a directory that keeps its word
def test_local_directory_is_fit_and_nothing_is_left_in_it(shared):
    share = open_share(shared)
    node = join(share)
    before = sorted(shared.rglob("*"))
    code, output = run(shared)
    assert code == 0 and "\nfit" in output and "\nlease: " in output and "UNFIT" not in output, output
    for probe in (
        "exclusive create",
        "hard links",
        "rename",
        "heartbeat",
        "fsync",
        "rate",
        "locks",
        "letter case",
        "clock",
        "free space",
    ):
        assert any(probe in line and line.startswith(("ok", "note")) for line in output.splitlines()), (probe, output)
    assert sorted(shared.rglob("*")) == before and node.heartbeat_file.exists()


def test_launcher_runs_the_quick_part_on_a_relative_path(shared):
    if not os.access(ROOT / ".venv/bin/python", os.X_OK):
        pytest.skip("needs the installed virtual environment")
    done = subprocess.run(
        ["bash", ROOT / "bin/check-share", shared.name, "--quick"], cwd=shared.parent, capture_output=True, text=True
    )
    assert done.returncode == 0 and "fit" in done.stdout and list(shared.iterdir()) == [], done


def test_three_peers_find_each_other_and_come_to_the_same_verdict(shared):
    peers = [start(shared, "--peers", 3, "--names", 100) for _ in range(3)]
    outputs = [peer.communicate(timeout=90)[0] for peer in peers]
    assert [peer.returncode for peer in peers] == [0, 0, 0], outputs
    tables = [
        [line for line in output.splitlines() if line.startswith(("ok", "note")) and "rac" in line or "seen by" in line]
        for output in outputs
    ]
    assert tables[0] == tables[1] == tables[2] and len(tables[0]) > 10
    for way in ("create", "link", "move away"):
        assert f"race to {way}" in outputs[0] and outputs[0].count("100 names, each won by exactly one of 3") == 3
    assert list(shared.iterdir()) == []


# ---- peers that are not there
def test_peer_that_never_comes_is_named_and_nothing_is_called_unfit(shared):
    code, output = run(shared, "--peers", 2, "--wait", 1)
    assert (
        code == 2 and "expected 2 peers, got 1" in output and "unfit" not in output and list(shared.iterdir()) == []
    ), output


def test_too_many_peers_are_named(shared):
    one, two, three = (PeerGroup(FileSystem(), shared / DIRECTORY_NAME, 2, 2, says_so) for _ in range(3))
    with one, two, three:
        wait_for(lambda: len(three._peers()) == 3)  # each is known from its second pulse on
        with pytest.raises(PeerLostError, match="expected 2 peers, got 3"):
            three.join()


@pytest.mark.parametrize(
    "end, word", [(signal.SIGKILL, "has died"), (signal.SIGTERM, "has left"), (signal.SIGSTOP, "silent for 2 s")]
)
def test_peer_that_ends_in_the_middle_does_not_keep_the_others_and_is_cleaned_up_after(shared, end, word):
    waits = (60, 2 if end == signal.SIGSTOP else 60)
    peers = [start(shared, "--peers", 2, "--names", 400, "--wait", wait) for wait in waits]
    try:
        until(lambda: list(shared.glob(f"{DIRECTORY_NAME}/*/arena/*ed.5")))  # created, and later linked, which stays
        peers[0].send_signal(end)
        output = peers[1].communicate(timeout=60)[0]
        if end == signal.SIGTERM:
            peers[0].wait(60)  # who leaves tidies up, perhaps as the last
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
    assert peers[1].returncode == 2 and word in output, output
    assert list(shared.iterdir()) == []


def take_part(shared: Path, losses: list[str]) -> None:
    """Two peers, each in a thread; `losses` gets what each says of a lost peer."""

    def peer() -> None:
        with PeerGroup(FileSystem(), shared / DIRECTORY_NAME, 2, 30, says_so) as circle:
            scratch = ScratchDir.at(circle.system, circle.place / "ground")
            try:
                check_together(FindingLog(), circle, scratch, mount_of(shared), 10)
            except PeerLostError as error:
                losses.append(str(error))

    threads = [threading.Thread(target=peer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_peer_comes_in_though_the_last_one_of_another_check_takes_their_directory_away(shared):
    taken = []

    def mkdir(path, *mode, **options):
        os.mkdir(path, *mode, **options)
        if Path(path).name == DIRECTORY_NAME and not taken:
            taken.append(os.rmdir(path))

    system = FileSystem(Liar(mkdir=mkdir))
    with PeerGroup(system, shared / DIRECTORY_NAME, 1, 5, says_so) as group:
        assert taken and group.place.is_dir()
    shared.rmdir()
    with pytest.raises(FileNotFoundError), PeerGroup(system, shared / DIRECTORY_NAME, 1, 5, says_so):
        pass
    assert not shared.exists()


def test_peer_that_the_others_took_for_dead_calls_nothing_unfit(shared, monkeypatch):
    def late(scratch: ScratchDir):
        shutil.rmtree(scratch.root.parent)
        return check_create(scratch)

    monkeypatch.setattr("shared.fscheck.__main__.QUICK", (late,))
    with pytest.raises(PeerLostError, match="the other peers took this one for dead"):
        check(FindingLog(), shared, 1, 5, 10, quick=True)
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("step", ["publish begins", "seen before"])
def test_nobody_waits_for_the_files_of_a_peer_that_has_left(shared, monkeypatch, step):
    really, losses = PeerGroup.all_gather, []

    def gather(group: PeerGroup, at: str, value=None) -> list:
        answers = really(group, at, value)
        if at == step and group.number == 0:  # and until the other one can only wait
            awaited = ("*/arena/published/*", peer_checks.FILES) if at == "publish begins" else ("*/said.looking", 1)
            until(lambda: len(list(group.directory.glob(awaited[0]))) == awaited[1])
            raise PeerLostError("stopped")
        return answers

    monkeypatch.setattr(PeerGroup, "all_gather", gather)
    began = time.monotonic()
    take_part(shared, losses)
    assert sorted(loss.split()[-1] for loss in losses) == ["left", "stopped"], losses
    assert list(shared.iterdir()) == [] and time.monotonic() - began < min(peer_checks.FILES_S, visibility.LIMIT_S)


@pytest.mark.parametrize("step", ["hello", "create begins", "create", "move", "publish begins", "laid", "locked"])
def test_peer_that_leaves_with_the_files_of_all_makes_nothing_unfit(shared, monkeypatch, step):
    really, losses, received = PeerGroup.all_gather, [], threading.Event()

    def gather(group: PeerGroup, at: str, value=None) -> list:
        answers = really(group, at, value)
        if at == step and group.number == 0:
            received.wait(30)
            raise PeerLostError("stopped")
        if at == step:
            received.set()
            until(lambda: not (group.directory / group.members[0]).exists())
        return answers

    monkeypatch.setattr(PeerGroup, "all_gather", gather)
    take_part(shared, losses)
    assert sorted(loss.split()[-1] for loss in losses) == ["left", "stopped"], losses
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_check_that_is_stopped_leaves_nothing(shared, number):
    process = start(shared, "--peers", 2)
    until(lambda: list(shared.glob(f"{DIRECTORY_NAME}/*/ground")))
    process.send_signal(number)
    output = process.communicate(timeout=90)[0]
    assert process.returncode == 130 and "stopped" in output and "Traceback" not in output, output
    assert list(shared.iterdir()) == []


def test_remains_of_a_check_that_was_killed_are_removed_by_the_next_on_that_machine(shared):
    process = start(shared, "--peers", 2)
    until(lambda: list(shared.glob(f"{DIRECTORY_NAME}/*/ground")))
    process.kill()
    process.communicate()
    assert list(shared.iterdir()) != []
    assert run(shared, "--quick")[0] == 0 and list(shared.iterdir()) == []


# ---- file systems that lie: an object stands for the os module and does not do what it says
class Liar:
    """The os module, but for these functions."""

    def __init__(self, **lies):
        self.__dict__.update(lies)

    def __getattr__(self, name):
        return getattr(os, name)


def not_exclusive(path, flags, *args, **options):
    return os.open(path, flags & ~os.O_EXCL, *args, **options)


def link_replaces(old, new, **options):
    Path(new).unlink(missing_ok=True)
    os.link(old, new)


def says_so(*args, **options):
    pass


def rename_copies(old, new):
    shutil.copy(old, new)


def touch_does_nothing(path, ns=None):
    if ns:
        os.utime(path, ns=ns)


def short_names(path, flags, *args, **options):
    if len(Path(path).name) > 143:  # as eCryptfs has it
        raise OSError(errno.ENAMETOOLONG, "File name too long")
    return os.open(path, flags, *args, **options)


def remembers_what_was_missing():
    missing = set()

    def stat(path, dir_fd=None, **options):
        name = path, dir_fd is not None and os.fstat(dir_fd).st_ino
        if name in missing:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        try:
            return os.stat(path, dir_fd=dir_fd, **options)
        except FileNotFoundError:
            missing.add(name)
            raise

    return stat


def fails(code):
    def fail(*args, **options):
        raise OSError(code, os.strerror(code))

    return fail


LIES = [
    ("exclusive create", {"open": not_exclusive}),
    ("hard links", {"link": link_replaces}),
    ("hard links", {"link": says_so}),
    ("rename", {"rename": rename_copies}),
    ("rename", {"rename": says_so}),
    ("heartbeat", {"utime": touch_does_nothing}),
    ("long names", {"open": short_names}),
    ("names come and go", {"stat": remembers_what_was_missing()}),
    ("exclusive create", {"fsync": fails(errno.EIO)}),
]


@pytest.mark.parametrize("what, lies", LIES, ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_every_broken_rule_is_named_with_a_cure(tmp_path, what, lies):
    scratch = ScratchDir(FileSystem(Liar(**lies)), tmp_path, hard_links=True)
    found = {finding.what: finding for finding in (probe(scratch) for probe in NEEDED)}
    assert found[what].verdict is Verdict.UNFIT and found[what].cure, found
    assert found[what].error == (errno.EIO if "fsync" in lies else None), found


@pytest.mark.parametrize(
    "what, lies",
    [lie for lie in LIES if lie[0] != "names come and go" and "fsync" not in lie[1]],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_node_refuses_a_broken_mount_in_one_line(shared, what, lies):
    share = open_share(shared)
    share.system.os = Liar(**lies)
    with pytest.raises(JobQueueError) as refusal:
        check_quickly(share)
    line = str(refusal.value)
    assert str(shared) in line and "bin/check-share" in line and "\n" not in line
    assert list(share.layout.tmp.iterdir()) == []


def test_honest_directory_has_no_unfit_property_and_no_error(tmp_path):
    scratch = ScratchDir.at(FileSystem(), tmp_path)
    for probe in (*NEEDED, *INFO_CHECKS):
        finding = probe(scratch)
        assert finding.verdict is not Verdict.UNFIT and finding.error is None, finding
        assert finding.verdict is Verdict.OK or finding.what == "free space", finding
    assert scratch.hard_links


@pytest.mark.parametrize("code", sorted(NO_LINKS))
def test_directory_without_hard_links_is_fit_with_a_note(shared, code):
    share = open_share(shared, FileSystem(Liar(link=fails(code))))
    scratch = ScratchDir.at(share.system, shared / "ground")
    findings = [probe(scratch) for probe in NEEDED]
    assert [finding.what for finding in findings if finding.verdict is not Verdict.OK] == ["hard links"], findings
    check_quickly(share)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO])
def test_temporary_errors_keep_no_node_from_joining(shared, code):
    share = open_share(shared)
    share.system.os = Liar(fsync=fails(code))
    check_quickly(share)
    assert list(share.layout.tmp.iterdir()) == []


def test_nodes_command_makes_the_quick_check_before_it_does_anything(shared, monkeypatch):
    open_share(shared)
    monkeypatch.setattr(FileSystem, "link", lambda self, old, new: link_replaces(old, new))
    done = click.testing.CliRunner().invoke(node_command.main, [str(shared)])
    assert done.exit_code == 2 and "hard links" in done.output, done.output
    assert done.output.count("\n") == 2 and " started: " in done.output.splitlines()[0], done.output


# ---- lies that show among several machines alone
def meet(shared: Path, *systems: FileSystem, names: int = 40) -> dict[str, Verdict]:
    """The joint part, one peer a system, each in a thread: the verdict that all come to, by property."""
    tables = [FindingLog() for _ in systems]

    def take_part(table: FindingLog, system: FileSystem) -> None:
        with PeerGroup(system, shared / DIRECTORY_NAME, len(systems), 30, says_so) as circle:
            check_together(table, circle, ScratchDir.at(system, circle.place / "ground"), mount_of(shared), names)

    threads = [threading.Thread(target=take_part, args=pair) for pair in zip(tables, systems)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = [{finding.what.strip(" …"): finding.verdict for finding in table.findings} for table in tables]
    assert found[0] and all(one == found[0] for one in found), found
    assert list(shared.iterdir()) == []
    return found[0]


def unfit_among(found: dict[str, Verdict]) -> set[str]:
    return {what for what, verdict in found.items() if verdict is Verdict.UNFIT}


def test_honest_peers_find_nothing_unfit(shared):
    assert unfit_among(meet(shared, FileSystem(), FileSystem())) == set()


def test_peers_on_one_machine_of_several_have_not_checked_all(shared):
    mount, refusals, tables = Mount("nfs4", "server:/film", ()), [], [FindingLog(), FindingLog()]

    def take_part(table: FindingLog) -> None:
        with PeerGroup(FileSystem(), shared / DIRECTORY_NAME, 2, 30, says_so) as circle:
            try:
                check_together(table, circle, ScratchDir.at(circle.system, circle.place / "ground"), mount, 10)
            except UncheckedError as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=take_part, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refusals) == 2 and "expected peers on several machines" in refusals[0], refusals
    assert not any(table.unfit for table in tables) and list(shared.iterdir()) == []


def test_peers_without_hard_links_find_nothing_unfit(shared):
    systems = [FileSystem(Liar(link=fails(errno.EPERM))) for _ in range(2)]
    found = meet(shared, *systems)
    assert unfit_among(found) == set() and "race to link" not in found


def test_link_that_two_peers_win_is_found(shared):
    def link(old, new, **options):
        try:
            os.link(old, new, **options)
        except FileExistsError:
            if "linked." not in str(new):
                raise

    assert unfit_among(meet(shared, FileSystem(Liar(link=link)), FileSystem(Liar(link=link)))) == {"race to link"}


@pytest.mark.parametrize(
    "links, verdict", [(True, Verdict.NOTE), (False, Verdict.UNFIT)], ids=["hard links", "no hard links"]
)
def test_create_that_two_peers_win_is_unfit_only_where_claims_rest_on_it(shared, links, verdict):
    lies = {"open": not_exclusive} | ({} if links else {"link": fails(errno.EPERM)})
    found = meet(shared, FileSystem(Liar(**lies)), FileSystem(Liar(**lies)))
    assert found["race to create"] is verdict


def test_move_that_two_peers_win_is_found(shared):
    def rename(old, new):
        (rename_copies if "created." in str(old) else os.rename)(old, new)

    assert "race to move away" in unfit_among(
        meet(shared, FileSystem(Liar(rename=rename)), FileSystem(Liar(rename=rename)))
    )


def test_file_that_is_not_whole_at_first_sight_is_found(shared):
    seen = set()

    def fstat(fd):
        info = os.fstat(fd)
        if info.st_size != peer_checks.FILE_BYTES or info.st_ino in seen:
            return info
        seen.add(info.st_ino)
        return os.stat_result((*info[:6], 100, *info[7:]))

    assert unfit_among(meet(shared, FileSystem(Liar(fstat=fstat)), FileSystem())) == {"first read"}


def test_other_users_files_that_cannot_be_given_back_are_found(shared):
    def link(old, new, **options):
        if "back." in str(new):
            raise PermissionError(errno.EPERM, "Operation not permitted")  # as protected_hardlinks has it
        os.link(old, new, **options)

    assert unfit_among(meet(shared, FileSystem(Liar(link=link)), FileSystem(Liar(link=link)))) == {"others' files"}


def test_changes_that_others_never_see_are_found(shared, monkeypatch):
    monkeypatch.setattr(visibility, "LIMIT_S", 1.0)
    monkeypatch.setattr(peer_checks, "START_S", 0.1)
    first = {}

    def fstat(fd):
        info = os.fstat(fd)
        return (
            first.setdefault(info.st_ino, info)
            if info.st_mtime_ns == visibility.LONG_AGO or info.st_ino in first
            else info
        )

    lies = {"fstat": fstat, "fsync": says_so}  # a busy disk takes no part of the second
    systems = [FileSystem(Liar(**lies, stat=remembers_what_was_missing())) for _ in range(2)]
    assert unfit_among(meet(shared, *systems)) == {"new name, opened", "heartbeat, opened"}


def test_peers_of_two_kinds_of_mounts_are_told_to_mount_it_alike(shared):
    found = meet(shared, FileSystem(), FileSystem(Liar(link=fails(errno.EPERM))))
    assert unfit_among(found) == {"hard links of all"}


# ---- file systems that are as they are, mounted in a private namespace
def in_a_mount(place: Path, script: str) -> tuple[int, str]:
    """Run the check on `place` after a script has mounted something there; and what lies in it afterwards."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to mount file systems")
    place.mkdir()
    check = f"{sys.executable} -m shared.fscheck {place}; code=$?; ls -A {place}; exit $code"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"({script}) > /dev/null 2>&1 || exit 77; {check}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77:
        pytest.skip("this machine cannot mount that")
    return done.returncode, done.stdout + done.stderr


def test_full_disk_is_unfit_until_somebody_makes_room(tmp_path):
    place = tmp_path / "full"
    code, output = in_a_mount(
        place, f"mount -t tmpfs -o size=64k,mode=755 none {place}; head -c 1M /dev/zero > {place}/filling; true"
    )
    assert code == 1 and "free some space" in output and output.endswith("\nfilling\n"), output


def test_disk_without_inodes_is_unfit_until_somebody_makes_room(tmp_path):
    place = tmp_path / "full"
    code, output = in_a_mount(place, f"mount -t tmpfs -o nr_inodes=3,mode=755 none {place}; touch {place}/filling")
    assert code == 1 and "free some space" in output and output.endswith("\nfilling\n"), output


def test_read_only_mount_is_unfit(tmp_path):
    place = tmp_path / "ro"
    code, output = in_a_mount(place, f"mount -t tmpfs -o mode=755 none {place} && mount -o remount,ro {place}")
    assert code == 1 and "mount it writable" in output and "Traceback" not in output, output


def test_file_system_without_hard_links_and_large_letters_is_fit_with_notes(tmp_path):
    place, image = tmp_path / "fat", tmp_path / "image"
    make = " || ".join(f"(mkfs.{kind} {image} && mount -o loop {image} {place})" for kind in ("vfat", "exfat"))
    code, output = in_a_mount(place, f"truncate -s 64M {image} && ({make})")
    assert code == 0 and "note  hard links" in output and "note  letter case" in output, output


def test_sticky_directory_is_unfit(tmp_path):
    tmp_path.chmod(0o1777)
    code, output = run(tmp_path)
    assert code == 1 and "sticky" in output and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_directory_is_a_wrong_command_line(tmp_path, name):
    (tmp_path / "file").touch()
    assert run(tmp_path / name)[0] == 2


# ---- mounts and leases
@pytest.mark.parametrize("options, word", [
    ("rw,hard,vers=4.2", None), ("rw,soft", "mount it hard"), ("rw,hard,nocto", "without nocto"), ("rw,hard,nolock", "locks"),
    ("rw,hard,acregmax=600", "at most 60"), ("rw,hard,acregmax=30", None), ("rw,cache=loose", "cache=none"),
])  # fmt: skip
def test_bad_mount_options_are_named(options, word):
    mount = mount_of(Path("/mnt/film/sub"), MOUNTED + f"2 1 0:2 / /mnt/film rw - nfs4 server:/film {options}\n")
    assert mount.kind == "nfs4" and not mount.local
    assert word in mount.warnings()[0] if word else mount.warnings() == []


def test_mount_that_is_blind_for_other_machines_is_unfit_for_several_alone():
    mount = mount_of(Path("/mnt/film"), MOUNTED + "2 1 0:2 / /mnt/film rw - nfs server:/film rw,nocto\n")
    assert mounted(mount, True).verdict is Verdict.NOTE and mounted(mount, False).verdict is Verdict.UNFIT


def test_mount_point_of_any_name_is_found_and_the_last_one_counts():
    table = MOUNTED + "2 1 0:2 / /mnt/Größe\\040und\\040Maß rw - nfs server:/a rw\n3 1 0:3 / /mnt/film rw - tmpfs  rw\n"
    table += "4 1 0:4 / /mnt/film rw master:1 - cifs //server/film rw\n"
    assert mount_of(Path("/mnt/Größe und Maß/film"), table).kind == "nfs"
    assert mount_of(Path("/mnt/film"), table).kind == "cifs"
    assert mount_of(Path("/mnt/films"), table).local
    assert mount_of(Path("/mnt"), "") is None


def test_lease_follows_what_was_seen():
    assert recommend_lease(local=True, delay=None)[0] == 30
    assert recommend_lease(local=False, delay=None)[0] == LEASE_S
    assert recommend_lease(local=False, delay=0.1)[0] == 60
    assert recommend_lease(local=False, delay=60.0)[0] == 210 > LEASE_S
