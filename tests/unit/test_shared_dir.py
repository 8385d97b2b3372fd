"""The shared directory itself: what is refused, and with which words."""

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.meter import Counting
from shared.errors import EvictedError, JobQueueError
from shared.filesystem import FileSystem, process_start
from shared.identity import Identity
from shared.membership import remove_node
from shared.mount import Mount
from shared.notify import ChangeNotifier
from shared.shared_dir import open_share
from tests.helpers.job_system import join


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(JobQueueError, match="found nothing"):
        open_share(tmp_path / "missing")


def test_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobQueueError, match="got a file"):
        open_share(tmp_path / "file")


def test_sticky_directory_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    with pytest.raises(JobQueueError, match="sticky"):
        open_share(tmp_path)


@pytest.mark.parametrize("number, word", [(28, "free some space"), (30, "writable"), (13, "permissions")])
def test_directory_that_cannot_be_written_is_refused(tmp_path, number, word, monkeypatch):
    def refuse(self, path, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileSystem, "write_new", refuse)
    with pytest.raises(JobQueueError, match=word):
        open_share(tmp_path)


def test_files_are_the_groups_where_the_directory_is(tmp_path):
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    try:
        share = open_share(tmp_path)
        node = join(share)
    finally:
        os.umask(before)
    assert node.heartbeat_file.stat().st_mode & 0o777 == 0o660
    assert node.tmp_dir.stat().st_mode & 0o7777 == 0o2770


def test_files_go_to_the_directorys_group_also_without_setgid(tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to give a directory to another group")
    tmp_path.chmod(0o770)
    os.chown(tmp_path, -1, 12345)
    node = join(open_share(tmp_path))
    assert {path.stat().st_gid for path in (node.heartbeat_file, node.tmp_dir, node.share.layout.jobs)} == {12345}


def test_node_that_left_leaves_nothing(share):
    node = join(share)
    ChangeNotifier(node).notify()
    node.leave()
    assert [path for room in share.layout.subdirectories() for path in room.iterdir()] == []


def test_node_that_was_swept_learns_of_it_at_its_next_beat(share):
    node = join(share)
    remove_node(share, node.identity.incarnation)
    with pytest.raises(EvictedError):
        node.renew()


def test_identity_reads_back_and_a_strangers_does_not(tmp_path):
    identity = Identity.here("a word about it")
    assert Identity.from_bytes(identity.to_bytes(), tmp_path) == identity
    for content in (b"", b"{}", b"hello", identity.to_bytes().replace(b'"version": 1', b'"version": 2')):
        with pytest.raises(JobQueueError):
            Identity.from_bytes(content, tmp_path)


def test_reading_follows_no_link_and_waits_on_no_fifo(share, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link"):
        with pytest.raises(JobQueueError):
            share.system.read(tmp_path / name)


@pytest.fixture(params=["local", "of a network"])
def kind_of_mount(request, monkeypatch) -> str:
    """Whether the kernel reports changes in the shared directory."""
    if request.param != "local":
        monkeypatch.setattr("shared.notify.mount_of", lambda path: Mount("nfs4", "server:/film", ()))
        monkeypatch.setattr("shared.notify.LOOK_S", 0.05)
    return request.param


def test_notification_of_another_node_wakes_a_waiter_and_ones_own_does_not(root, kind_of_mount):
    root.mkdir(exist_ok=True)
    share = open_share(root, FileSystem())
    mine, theirs = ChangeNotifier(join(share)), ChangeNotifier(join(share))
    mine.wait(0.01)  # begins to watch
    mine.notify()
    assert not mine.wait(0.3)
    for _ in range(2):
        theirs.notify()
        assert mine.wait(10) and not mine.wait(0.06)
    mine.close()


def test_notification_that_comes_while_a_node_waits_wakes_it(root, kind_of_mount):
    root.mkdir(exist_ok=True)
    share = open_share(root, FileSystem())
    mine, theirs = ChangeNotifier(join(share)), ChangeNotifier(join(share))
    mine.wait(0.01)
    late = threading.Timer(0.2, theirs.notify)
    late.start()
    assert mine.wait(10)
    late.join()
    mine.close()


def test_notification_that_comes_when_a_wait_has_just_ended_is_left_for_the_next_one(share, monkeypatch):
    notifier = ChangeNotifier(join(share))
    notifier.wait(0.0)  # begins to watch

    def late(event: threading.Event, seconds: float) -> bool:
        heard = event.is_set()
        event.set()
        return heard

    monkeypatch.setattr(share.system, "wait", late)
    assert not notifier.wait(1.0) and notifier.wait(1.0)
    notifier.close()


def test_waiting_on_a_network_reads_no_entry_and_a_node_that_works_asks_nothing(root, monkeypatch):
    monkeypatch.setattr("shared.notify.mount_of", lambda path: Mount("nfs4", "server:/film", ()))
    root.mkdir(exist_ok=True)
    share, costs = open_share(root, FileSystem(Counting())), []
    node, calls, threads = ChangeNotifier(join(share)), share.system.os.calls, threading.active_count()
    for others in (2, 100):
        for _ in range(others):
            ChangeNotifier(join(share)).notify()
        monkeypatch.setattr(node, "_looked", float("-inf"))
        before = Counter(calls)
        node.wait(0.0)
        costs.append(Counter(calls) - before)
        assert threading.active_count() == threads, "nothing looks on while the node works"
    assert costs[0] == costs[1] and costs[1]["listdir"] == 1 and costs[1].total() < 8
    assert node.wait(0.0) is False and Counter(calls) - before == costs[1], "once a second is enough"


def test_directory_that_takes_no_other_is_an_error_and_no_endless_climb(share):
    with pytest.raises(OSError):
        share.system.make_dirs(Path("/proc/nodes/x"))


def test_start_time_tells_processes_of_one_pid_apart(share):
    start = process_start(os.getpid())
    assert not share.system.process_gone(os.getpid(), start)
    assert share.system.process_gone(os.getpid(), start + 1)


# ---- a shared directory of the version before
@pytest.fixture
def older(tmp_path):
    """A shared directory as the version before made it, with a job."""
    for room in ("nodes", "private", "bell", "logs", "names/film", "jobs/film.0123456789ab/results/frame/0000"):
        (tmp_path / room).mkdir(parents=True)
    (tmp_path / "fav-share.json").write_text('{"fav_share": 1, "id": "0123456789abcdef", "made": "", "by": ""}\n')
    (tmp_path / "names" / "film" / "job.json").write_text("{}")
    (tmp_path / "jobs" / "film.0123456789ab" / "results" / "frame" / "0000" / "0000000.png").write_bytes(b"a frame")
    return tmp_path


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("how", [{}, {"new": False}, {"read_only": True}])
def test_share_of_the_version_before_is_refused_and_nothing_in_it_changes(older, marked, how):
    if not marked:  # versions before that one wrote no marker
        (older / "fav-share.json").unlink()
    before = {path: path.read_bytes() if path.is_file() else None for path in older.rglob("*")}
    with pytest.raises(JobQueueError, match="made by an older version .* with that version, or use a new directory$"):
        open_share(older, **how)
    assert {path: path.read_bytes() if path.is_file() else None for path in older.rglob("*")} == before


def test_new_share_is_marked_with_the_format_of_now(tmp_path):
    open_share(tmp_path)
    assert (tmp_path / "fav-share.json").read_text().startswith('{"fav_share": 2, ')
    assert {"by-name", "tmp", "notify", "jobs", "nodes", "logs"} < {path.name for path in tmp_path.iterdir()}
