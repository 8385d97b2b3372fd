"""Wrong protocols, each a small change that somebody might make. The verdict must find every one of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from shared import attempts, claims, jobs, recovery, results, retry, worker
from shared.claims import Claims, Outcome
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.identity import read_identity
from shared.recovery import Recovery

Mutation = Callable[[], list]  # the patches that make it
MUTATIONS: dict[str, Mutation] = {}


def mutation(patches: Mutation) -> Mutation:
    MUTATIONS[patches.__name__.replace("_", " ")] = patches
    return patches


@contextmanager
def mutated(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        for one in MUTATIONS[name]():
            stack.enter_context(one)
        yield


# ---- claims
@mutation
def claim_by_exists_then_open():
    def claim(self, task):
        placeholder = self.job.layout.placeholder(task)
        if self.node.share.system.exists(placeholder):
            return Outcome.LOST
        draft = self.node.temp_path()
        self.node.share.system.write_new(draft, self.node.identity.to_bytes())
        self.node.share.system.rename(draft, placeholder)
        if results.is_done(self.job, task):
            self.release(task)
            return Outcome.DONE
        self.held.add(task)
        return Outcome.WON

    return [patch.object(Claims, "claim", claim)]


@mutation
def claim_without_asking_for_the_result():
    return [patch.object(claims, "results", _NeverDone)]


class _NeverDone:
    is_done = staticmethod(lambda job, task: False)


@mutation
def claim_that_believes_every_error():
    return [
        patch.object(Claims, "is_ours", lambda self, placeholder: False),
        patch.object(recovery, "remove_claim", _take_away_of_others),
    ]


def _take_away_of_others(node, placeholder, aside, token, keep):
    return keep and claims.remove_claim(node, placeholder, aside, token, keep)


@mutation
def release_before_publishing():
    def do(self, board, task):
        board.claims.release(task)
        calm(self, board, task)

    calm = worker.Worker._run_task
    return [patch.object(worker.Worker, "_run_task", do)]


@mutation
def placeholder_of_another_is_not_linked_back():
    def take_away(node, placeholder, aside, token, keep):
        try:
            node.share.system.rename(placeholder, aside)
        except FileNotFoundError:
            return False
        owner = read_identity(node.share, aside)
        if not keep or owner is None or owner.token != token:
            node.share.system.unlink(aside)
        return owner is None or owner.token == token

    return [patch.object(claims, "remove_claim", take_away), patch.object(recovery, "remove_claim", take_away)]


@mutation
def release_without_looking_at_the_owner():
    def take_away(node, placeholder, aside, token, keep):
        node.share.system.rename(placeholder, aside)
        if not keep:
            node.share.system.unlink(aside)
        return True

    return [patch.object(claims, "remove_claim", take_away), patch.object(recovery, "remove_claim", take_away)]


# ---- recovery
@mutation
def owner_judged_by_a_look_before_the_move():
    """The claim is removed under whatever name it has by now: no look inside after the rename."""

    def remove(self, job, task, path, token):
        place = job.layout.attempts_of(task)
        self.share.system.make_dirs(place)
        try:
            self.share.system.rename(path, place / f"{token}.{attempts.nonce()}")
        except FileNotFoundError:
            return
        self.recovered += 1
        attempts.mark_failed_if_exhausted(self.node, job, task)

    return [patch.object(Recovery, "_remove", remove)]


@mutation
def heartbeat_compared_with_the_local_clock():
    def dead(self, identity, lease):
        try:
            beat = self.share.system.mtime(self.share.layout.heartbeat(identity.incarnation)) / 1e9 - 1e6
        except FileNotFoundError:
            return True
        return self.share.system.wall() - beat >= lease

    return [patch.object(FailureDetector, "is_dead", dead)]


@mutation
def nodes_looked_at_before_the_placeholders_are_listed():
    def run(self, held, assumed_dead_hosts=frozenset()):
        self.detector.poll()
        look, self.detector.poll = self.detector.poll, lambda: None
        try:
            return calm(self, held, assumed_dead_hosts)
        finally:
            self.detector.poll = look

    calm = Recovery.run
    return [
        patch.object(Recovery, "run", run),
        patch.object(
            FailureDetector,
            "is_dead",
            lambda self, identity, lease: (
                self.silent_for(identity.incarnation) is None
                or self.silent_for(identity.incarnation) >= lease
                or self.process_gone(identity)
            ),
        ),
    ]


def remove_everything(system, path):
    """A directory with all in it, whoever made that; or a file."""
    removal = system.remove(path, lambda entry, is_directory: True)
    removal.foreign.clear()
    return removal


@mutation
def sweep_that_does_not_look_at_what_a_private_directory_holds():
    return [
        patch.object(
            recovery, "remove_temporary", lambda share, name: remove_everything(share.system, share.layout.tmp / name)
        )
    ]


@mutation
def sweep_that_does_not_look_at_names_and_contents():
    return [
        patch.object(recovery, "is_temporary", lambda name: True),
        patch.object(
            recovery, "remove_temporary", lambda share, name: remove_everything(share.system, share.layout.tmp / name)
        ),
    ]


@mutation
def sweep_of_notices_by_their_names_alone():
    return [
        patch.object(
            recovery, "remove_notice", lambda share, name: remove_everything(share.system, share.layout.notify / name)
        )
    ]


@mutation
def sweep_of_jobs_without_the_record_of_a_creator():
    return [
        patch.object(recovery, "creator_of", lambda share, job: ""),
        patch.object(
            recovery, "remove_job_files", lambda share, job, incarnation: remove_everything(share.system, job.root)
        ),
    ]


# ---- publishing
@mutation
def publish_by_plain_write():
    def publish_bytes(node, job, task, data):
        final = job.layout.result(task)
        node.share.system.make_dirs(final.parent)
        try:
            node.share.system.write_new(final, data)
            return True
        except FileExistsError:
            return False

    return [patch.object(results, "publish_bytes", publish_bytes)]


@mutation
def publish_by_rename_over_a_result():
    def publish_bytes(node, job, task, data):
        final = job.layout.result(task)
        node.share.system.make_dirs(final.parent)
        draft = final.with_suffix(f".{attempts.nonce()}.tmp")
        node.share.system.write_new(draft, data)
        node.share.system.rename(draft, final)
        return True

    return [patch.object(results, "publish_bytes", publish_bytes)]


@mutation
def publish_without_fsync():
    class Unsynced:
        def __init__(self, client):
            self.client = client

        def __getattr__(self, name):
            return (lambda fd: None) if name == "fsync" else getattr(self.client, name)

    def write_new(self, path, data):
        client, self.os = self.os, Unsynced(self.os)
        try:
            calm(self, path, data)
        finally:
            self.os = client

    calm = FileSystem.write_new
    return [patch.object(FileSystem, "write_new", write_new)]


@mutation
def name_of_a_job_written_in_place():
    def take_name(node, manifest):
        final = node.share.layout.name(manifest.name)
        node.share.system.make_dirs(final)
        node.share.system.write_new(final / "job.json", manifest.to_bytes())

    return [patch.object(jobs, "_take_name", take_name)]


# ---- errors of the file system
@mutation
def full_disk_is_an_error():
    return [patch.object(retry, "NO_SPACE_ERRNOS", set())]


@mutation
def stumbling_server_is_an_error():
    return [
        patch.object(retry, "RETRYABLE_ERRNOS", set()),
        patch.object(worker, "TRANSIENT_ERRNOS", worker.TRANSIENT_ERRNOS - retry.RETRYABLE_ERRNOS),
    ]


# ---- attempts
@mutation
def failed_attempts_are_not_counted():
    return [patch.object(attempts, "mark_failed_if_exhausted", lambda node, job, task: False)]


@mutation
def records_of_one_owner_overwrite_each_other():
    return [
        patch.object(attempts, "nonce", lambda: "0"),
        patch.object(recovery, "nonce", lambda: "0"),
        patch.object(attempts, "MAX_FAILURES", 3),
    ]


@mutation
def vanished_owners_count_as_failures():
    return [patch.object(attempts, "MAX_VANISHED_OWNERS", 1)]


@mutation
def heartbeat_file_is_swept_before_it_is_silent_for_a_lease():
    return [
        patch.object(recovery, "LEASE_S", 0.0),
        patch.object(Recovery, "_owns_any", lambda self, identity, held: False),
        patch.object(
            FailureDetector, "silent_for", lambda self, incarnation: 1e9 if incarnation in self._last_change else None
        ),
    ]
