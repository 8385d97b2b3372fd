"""What users of several machines get wrong: one clear line before any work starts where it can be, and nothing is lost.

More of it is in `test_commands` (bad input), `test_full_disk`, `test_strangers` (what others leave) and `test_ssh` (hosts).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import coordinator
import node as node_command
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import stitch_task
from shared import attempts, results
from shared.claims import claimed
from shared.errors import InputChangedError
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.notify import ChangeNotifier
from shared.shared_dir import SharedDir, open_share
from shared.worker import RECHECK_S, Worker
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.cases import usual
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.full_disk import said
from tests.helpers.job_system import Clock, is_clean, join, make_share, start
from tests.helpers.logs import messages
from tests.helpers.video_jobs import create, film_of, work
from tests.helpers.waiting import wait_for


@pytest.fixture
def share(root: Path) -> SharedDir:
    return make_share(root)


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """A clip that keeps a node busy for some seconds."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=6",
                    "-pix_fmt", "yuv420p", str(path)], check=True)  # fmt: skip
    return path


def frames(job: Job) -> int:
    return results.count(job, "frame", range(150))


def ended(node: subprocess.Popen) -> tuple[int, list[str]]:
    """The exit code and the lines of a node, without their times."""
    said = node.communicate(timeout=60)[0]
    return node.returncode, messages(said)


def rewrite(job: Job, **fields) -> None:
    """As if another version of the program had made the job."""
    path = job.share.layout.named_manifest(job.name)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# ---- the shared directory
@pytest.mark.parametrize("command, words", [(node_command.main, []), (node_command.main, ["--forever"]), *(
    (coordinator.main, [word]) for word in ("status", "nodes", "drain", "recover"))])  # fmt: skip
def test_directory_where_nothing_is_mounted_is_told_and_nothing_is_made_in_it(tmp_path, command, words):
    place = tmp_path / "film"
    place.mkdir()
    name, *rest = words or [""]
    line = [name, place, *rest] if command is coordinator.main else [place, *words]
    refused(call(command, *line), "film: expected a shared directory, got an empty one; is it mounted here")
    assert list(place.iterdir()) == []


def test_directory_within_the_shared_one_is_told_which_is_meant(share):
    refused(call(coordinator.main, "status", share.layout.jobs), f"{share.layout.root} is one")


def test_who_makes_a_new_shared_directory_is_told_so_once(tmp_path, clip, style):
    (tmp_path / "new").mkdir()
    words = "submit", tmp_path / "new", clip, style, "--frames", 1
    assert "new: made a new shared directory" in call(coordinator.main, *words).output
    assert "new shared directory" not in call(coordinator.main, *words).output


@pytest.mark.slow
def test_share_that_is_moved_away_in_mid_job_ends_a_node_in_one_line_and_the_same_line_goes_on(share, long, style):
    job, root = create(share, long, style), share.layout.root
    node = films.start_node(share, str(long), str(style))
    wait_for(lambda: frames(job) >= 3)
    root.rename(root.with_name("moved"))
    code, lines = ended(node)
    assert code == 2 and len(lines) == 2 and lines[1].startswith("error: "), lines
    assert "the shared directory is gone; was it unmounted, moved or emptied?" in lines[1]
    assert not root.exists()
    root.with_name("moved").rename(root)
    assert attempts.failed(job) == [] and frames(job) >= 3
    assert ended(films.start_node(share, str(long), str(style)))[0] == 0
    assert film_of(job).is_file() and is_clean(share)


@pytest.mark.slow
def test_share_that_is_read_only_for_a_while_is_waited_for(disk, long, style, tmp_path):
    def remount(how: str) -> None:
        into = ["--user", "--preserve-credentials"] if os.getuid() else []
        subprocess.run(["nsenter", "--target", str(disk.holder.pid), "--mount", *into, "mount", "-o", f"remount,{how},bind",
                        str(disk.directory)], check=True)  # fmt: skip

    said_to = tmp_path / "said.txt"
    seen = open_share(disk.seen / "share")
    job = create(seen, long, style)
    node = disk.run(ROOT / "node.py", disk.directory / "share", out=said_to)
    wait_for(lambda: frames(job) >= 3 or node.poll() is not None)
    assert node.poll() is None, said_to.read_text()
    remount("ro")
    wait_for(lambda: said(said_to, "Read-only file system; waiting until it is mounted writable"))
    done = frames(job)
    remount("rw")
    assert node.wait(60) == 0, said_to.read_text()
    assert done < frames(job) == 150 and said_to.read_text().count("Read-only") == 1
    assert not any(job.layout.attempts.rglob("*.*")), said_to.read_text()


@pytest.mark.parametrize("room", usual(["claims", "results", "attempts", "failed"], "claims", "results"))
def test_room_of_a_job_that_somebody_has_removed_is_made_again(share, room):
    job = toy.create(share, chains=2, length=3, poison=1)
    shutil.rmtree(job.layout.root / room)
    assert start(share.layout.root, "toy").wait(60) == 1  # for the poison
    assert attempts.failed(job) == [str(toy.link_task(1))] and results.count(job, "link", range(6)) == 4


@pytest.mark.parametrize("room", ["nodes", "tmp"])
def test_node_whose_room_somebody_has_removed_joins_again(share, room):
    job = toy.create(share, chains=1, length=40, slow=0.05, gate=20)
    node = start(share.layout.root, "toy")
    wait_for(lambda: results.count(job, "link", range(40)) == 20)
    shutil.rmtree(share.layout.root / room)
    (job.layout.inputs / "go").touch()
    output, _ = node.communicate(timeout=60)
    assert node.returncode == 0 and "joining again" in output and "Traceback" not in output, output
    assert results.read(job, toy.SUM) == toy.expected(1, 40) and attempts.failed(job) == []


def test_who_waits_does_so_without_a_notification(share):
    node = join(share)
    shutil.rmtree(share.layout.notify)
    assert not ChangeNotifier(node).wait(0.01)


def test_job_whose_files_somebody_has_removed_is_told_by_every_command_and_hides_no_other(share, clip, style):
    gone, other = create(share, clip, style, name="gone"), create(share, clip, style, name="other", frames=1)
    shutil.rmtree(gone.layout.root)
    root = share.layout.root
    for word in ("pause", "resume", "retry", "cancel", "recover", "stitch", "preview", "report", "status"):
        refused(call(coordinator.main, word, root, "gone"), "gone: its files are gone", "clean removes the name")
    refused(call(coordinator.main, "prioritize", root, "gone", 3), "its files are gone")
    refused(call(coordinator.main, "submit", root, clip, style, "--name", "gone"), "its files are gone")
    told = call(coordinator.main, "status", root)
    assert told.exit_code == 2 and "error: gone: its files are gone" in told.output and "other: waiting" in told.output
    assert call(coordinator.main, "clean", root, "gone").exit_code == 0
    assert find_job(share, "gone") is None and work(other)


@pytest.mark.slow
def test_film_that_was_moved_away_is_told_and_made_again(share, clip, style):
    job = create(share, clip, style, frames=2)
    assert work(job)
    film_of(job).unlink()
    told = f"{film_of(job)}: expected the film of {job.name}, found none"
    words = "stitch", share.layout.root, job.name, "--out", film_of(job).name
    cure = f"coordinator.py {' '.join(map(str, words))}"
    shown = call(coordinator.main, "status", share.layout.root).output
    assert told in shown and cure in shown
    assert call(coordinator.main, *words).exit_code == 0
    film_of(job).unlink()
    code, lines = ended(films.start_node(share, str(clip), str(style), "--frames", "2"))  # or the same line again
    assert code == 0 and any("its film was delivered again" in line for line in lines), lines
    assert (
        film_of(job).read_bytes() == job.layout.result(stitch_task(JobSpec.from_json(job.manifest.spec))).read_bytes()
    )


# ---- inputs that are replaced
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("replaced", marks=pytest.mark.slow),
        pytest.param("removed", marks=pytest.mark.slow),
        pytest.param("truncated", marks=pytest.mark.long),
    ],
)
def test_video_that_is_changed_in_mid_job_fails_no_attempt_and_put_back_the_job_goes_on(share, long, clip, style, how):
    video = share.layout.root / "video.mp4"
    shutil.copy(long, video)
    job = create(share, video, style)
    node = films.start_node(share, "--job", job.name)
    wait_for(lambda: frames(job) >= 3)
    if how == "replaced":
        video.write_bytes(clip.read_bytes())
    elif how == "truncated":
        os.truncate(video, 5000)
    else:
        video.unlink()
    code, lines = ended(node)
    assert code == 2 and len(lines) == 1 and str(video) in lines[0] and "restore the file" in lines[0], lines
    assert not any(job.layout.attempts.rglob("*.*")) and claimed(job) == {}
    shutil.copy(long, video)
    assert ended(films.start_node(share, str(video), str(style)))[0] == 0
    assert frames(job) == 150


def test_film_is_not_stitched_again_with_the_sound_of_another_video(share, clip, style):
    video = share.layout.root / "video.mp4"
    shutil.copy(clip, video)
    assert work(create(share, video, style, frames=2))
    shutil.copy(style, video)
    for command in ("stitch", "preview"):
        refused(call(coordinator.main, command, share.layout.root), "video.mp4: expected the job's video, got another")


@pytest.mark.parametrize("name", ["style", pytest.param("init_frame", marks=pytest.mark.slow)])
def test_input_that_was_replaced_since_is_refused_by_the_next_node(share, clip, style, tmp_path, name):
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), "-frames:v", "1", str(tmp_path / "seed.png")], check=True)
    job = create(share, clip, style, init_frame=tmp_path / "seed.png")
    (path,), label = job.layout.inputs.glob(f"{name}.*"), name.replace("_", " ")
    path.write_bytes(films.make_style(tmp_path / "other.safetensors", seed=2).read_bytes())
    code, lines = ended(films.start_node(share, "--job", job.name))
    assert code == 2 and len(lines) == 1 and f"{path}: expected the job's {label}, got another content" in lines[0], (
        lines
    )


def test_node_of_all_jobs_looks_again_whether_the_input_was_put_back(root, clock: Clock, caplog):
    root.mkdir()
    share = open_share(root, clock)
    toy.create(share, chains=1, length=1)
    changed = [True]

    def plan_for(job, node):
        if changed:
            raise InputChangedError("the video is another one")
        return toy.ToyPlan(job, node)

    worker = Worker(join(share), plan_for, toy.RecordingEvents(), threading.Event(), forever=True)
    worker._refresh_jobs()
    clock.now += RECHECK_S / 2
    changed.clear()
    worker._refresh_jobs()
    assert [state.ended_as for state in worker.states.values()] == ["changed"]
    for _ in range(2):
        clock.now += RECHECK_S
        worker._refresh_jobs()
    assert [state.ended_as for state in worker.states.values()] == [None]
    assert caplog.messages == ["toy: cannot be served here: the video is another one", "working on toy"]


# ---- versions
@pytest.mark.slow
def test_node_of_another_version_says_so_in_one_line_and_a_strict_job_refuses_it(share, clip, style):
    for name, strict in (("any", False), ("strict", True)):
        rewrite(create(share, clip, style, name=name, bit_exact=strict, frames=1), sources="0123456789ab")
    code, lines = ended(films.start_node(share, "--job", "any"))
    assert code == 0 and "any: made by another version of this program: expected 0123456789ab, got " in lines[0], lines
    code, lines = ended(films.start_node(share, "--job", "strict"))
    assert (
        code == 2 and len(lines) == 1 and "strict: the job is --bit-exact and was made by another version" in lines[0]
    ), lines


@pytest.mark.slow
def test_job_of_an_older_version_that_did_not_say_which_is_served_without_a_word(share, clip, style):
    job = create(share, clip, style, frames=1)
    path = share.layout.named_manifest(job.name)
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "sources"})
    )
    code, lines = ended(films.start_node(share, "--job", job.name))
    assert code == 0 and len(lines) == 1 and lines[0].startswith("done: "), lines


def test_job_of_a_newer_version_hides_no_other_from_status(share, clip, style):
    newer, other = create(share, clip, style, name="newer"), create(share, clip, style, name="other")
    rewrite(newer, spec=newer.manifest.spec | {"sparkle": 1})
    told = call(coordinator.main, "status", share.layout.root)
    assert told.exit_code == 2
    assert (
        "error: newer: job: expected options that this version knows, got 'sparkle'; update this machine" in told.output
    )
    assert f"{other.name}: waiting" in told.output


# ---- clocks
def with_clock(hours: float, script: str, *words: object) -> subprocess.Popen:
    """One of our commands on a machine whose clock is so far ahead of the share's."""
    late = (
        f"import runpy, sys, time; real = time.time; time.time = lambda: real() + {hours * 3600}; "
        f"sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", late, str(ROOT / script), *map(str, words)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
@pytest.mark.parametrize("hours, word", [(3, "3 h 0 min ahead of"), (-30, "30 h 0 min behind")])
def test_clock_that_is_hours_off_is_one_line_and_makes_the_same_film(share, clip, style, hours, word):
    job = create(share, clip, style, frames=2)
    code, lines = ended(with_clock(hours, "node.py", share.layout.root, "--job", job.name))
    assert code == 0 and len(lines) == 2 and word in lines[0] and "no harm to the film" in lines[0], lines


def test_signs_of_life_are_told_by_the_clock_of_the_share(share):
    with temporary_member(share, "cpu"):
        told = with_clock(3, "coordinator.py", "status", share.layout.root, "--json").communicate(timeout=60)[0]
        asked = with_clock(-3, "coordinator.py", "nodes", share.layout.root, "--json").communicate(timeout=60)[0]
    assert json.loads(told)["nodes"][0]["heard_s"] < 60 and json.loads(asked)["nodes"][0]["heard_s"] < 60, (told, asked)


# ---- the machine
@pytest.mark.parametrize("library", usual(["click", "cv2", "torch", "av"], "click", "torch"))
def test_library_that_does_not_load_is_one_line(share, clip, style, tmp_path, library):
    create(share, clip, style)
    assert_one_line_without(library, tmp_path, str(ROOT / "node.py"), str(share.layout.root))


@pytest.mark.parametrize("library", ["click", "rich"])
def test_library_that_single_steps_lack_is_one_line(tmp_path, library):
    assert_one_line_without(library, tmp_path, "-m", "fav", "--help")


def assert_one_line_without(library, tmp_path, *words):
    (tmp_path / f"{library}.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    said = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = messages(said.stdout + said.stderr)
    assert said.returncode == 2 and len(lines) == 1 and "libGL.so.1" in lines[0] and "bash install.sh" in lines[0], (
        lines
    )


@pytest.mark.parametrize("script", ["node.py", "coordinator.py"])
def test_python_that_is_too_old_is_one_line(script):
    old = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    said = subprocess.run([sys.executable, "-c", old, script], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 2 and said.stderr.count("\n") == 1, said.stderr
    assert "expected Python 3.11 or newer" in said.stderr, said.stderr


@pytest.mark.slow
def test_node_on_a_machine_without_inotify_hears_of_new_jobs_all_the_same(share, clip, style):
    limit = "/proc/sys/user/max_inotify_instances"  # of a namespace of its own
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo 0 > {limit} && exec "$@"', "sh"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    node = subprocess.Popen(
        [*alone, sys.executable, str(ROOT / "node.py"), str(share.layout.root), "--forever"],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: any(share.layout.nodes.iterdir()))
    time.sleep(3)  # it waits for a job
    job = create(share, clip, style, frames=1)
    wait_for(lambda: job.flag_text("finished") or node.poll() is not None)
    node.send_signal(signal.SIGTERM)
    code, lines = ended(node)
    assert job.flag_text("finished") and "Traceback" not in "\n".join(lines), lines


def test_node_for_a_cancelled_job_says_why_it_ends(share, clip, style):
    job = create(share, clip, style)
    assert call(coordinator.main, "cancel", share.layout.root).exit_code == 0
    code, lines = ended(films.start_node(share, "--job", job.name))
    assert code == 1 and lines == [f"{job.name}: cancelled; coordinator.py retry continues it"]
