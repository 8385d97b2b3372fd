"""Jobs: created once by whoever is first, read by everybody, never edited."""

import errno
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.command_names import command
from shared.errors import EvictedError, JobQueueError, JobRemovedError, sanitize
from shared.filesystem import RETRYABLE_ERRNOS, FileSystem, Removal
from shared.identity import DECODE_ERRORS, VERSION
from shared.membership import Node
from shared.ownership import INPUT_LIST_HEADER, remove_job_files
from shared.paths import NAMED, JobPaths, is_id, is_name, tame
from shared.settings import LEASE_S, MIN_LEASE_S
from shared.shared_dir import SharedDir
from shared.source_hash import version

NAME_LOOKUP_TRIES = 15
REMOVAL_TRIES = 3
PRIORITIES = range(-999, 1000)
TERMINAL_FLAGS = frozenset({"finished", "cancelled"})  # flags of a job without further work
FLAGS = TERMINAL_FLAGS | {"paused", "priority"}


@dataclass(frozen=True)
class Manifest:
    """What a job is.

    Attributes:
        id: its name and twelve random hexadecimal digits.
        spec: its options; only `fav/pipeline` reads them.
        lease: seconds of silence after which its nodes count as dead.
        sources: the version of the sources that created it, "" if unknown.
    """

    id: str
    name: str
    spec: dict
    lease: float = LEASE_S
    version: int = VERSION
    sources: str = ""

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Manifest":
        """Parse a manifest. Raises JobQueueError if it is not valid, or needs a newer version."""
        try:
            fields = json.loads(data)
            if fields["version"] > VERSION:
                raise JobQueueError(
                    f"{where}: the job was made by a newer version of this program; update this machine"
                )
            manifest = cls(
                str(fields["id"]),
                str(fields["name"]),
                dict(fields["spec"]),
                float(fields["lease"]),
                sources=sanitize(fields.get("sources", ""), 40),
            )
        except DECODE_ERRORS as error:
            raise JobQueueError(
                f"{where}: expected the manifest of a job, got {data[:40]!r} ({sanitize(repr(error), 100)})"
            ) from None
        if not (is_name(manifest.name) and is_id(manifest.id)) or not MIN_LEASE_S <= manifest.lease < 1e6:
            raise JobQueueError(f"{where}: expected the manifest of a job, got a name or lease that no job has")
        return manifest


class Job:
    """One job in one shared directory."""

    def __init__(self, share: SharedDir, manifest: Manifest):
        self.share = share
        self.manifest = manifest
        self.layout: JobPaths = share.layout.job(manifest.id)

    @property
    def name(self) -> str:
        return self.manifest.name

    def flags(self) -> set[str]:
        """The flags that are set. Raises JobRemovedError if the job, or its files, were removed."""
        names = set(self.share.system.list(self.layout.root))
        if "job.json" not in names:
            self.share.check()
            self.share.system.require_directory(self.layout.root)
            if _may_be_named(self.share, self.name, self.manifest.id):
                raise JobRemovedError(f"{self.name}: its files are gone; {command('clean')} removes the name, too")
            raise JobRemovedError(f"job {self.name} was removed while nodes worked on it")
        return names & FLAGS

    def check_directories(self) -> None:
        """Raise JobQueueError if something else is in the place of one of the job's directories."""
        for directory in (self.layout.root, *self.layout.subdirectories()):
            self.share.system.require_directory(directory)

    @property
    def source_mismatch(self) -> str | None:
        """A sentence if another version of this program created the job; None if it is the same, or unknown."""
        if self.manifest.sources in ("", version()):
            return None
        return f"made by another version of this program: expected {self.manifest.sources}, got {version()}"

    def set_flag(self, node: Node, mark: str, word: str = "") -> None:
        """Set a flag, with a text for people. If it is already set, its text stays."""
        draft = node.temp_path()
        self.share.system.write_new(draft, word.encode())
        try:
            self.share.publish_no_replace(draft, self.layout.flag(mark))
        except FileExistsError:
            pass
        finally:
            self.share.system.unlink(draft)

    def flag_text(self, mark: str) -> str | None:
        """The text of a flag, None if it is not set."""
        try:
            return sanitize(self.share.system.read(self.layout.flag(mark)).decode(errors="replace"), 1000)
        except FileNotFoundError:
            return None

    def clear_flag(self, mark: str) -> None:
        """Clear a flag. Nodes that poll afterwards serve the job again, unless another flag prevents it.

        Raises:
            JobQueueError: the flag is a directory that this program did not make.
        """
        path = self.layout.flag(mark)
        try:
            self.share.system.unlink(path)
        except (IsADirectoryError, PermissionError) as error:
            raise JobQueueError(
                f"{path}: expected a flag of the job that can be removed ({error.strerror}); move it away"
            ) from None

    def priority(self, flags: set[str]) -> int:
        """The job's priority, given its flags; nodes serve the largest first. 0 if it is not set, or not a number."""
        word = self.flag_text("priority") if "priority" in flags else None
        return int(word) if word and re.fullmatch(r"-?[0-9]{1,3}", word) else 0

    def prioritize(self, node: Node, priority: int) -> None:
        """Set the priority, -999 to 999."""
        self.clear_flag("priority")
        self.set_flag(node, "priority", str(priority))


def job_name(*parts: str) -> str:
    """Build a valid job name from file stems, whatever characters these have."""
    return "--".join(_short(tame(part).strip("._-")) or "x" for part in parts)


def _short(text: str) -> str:
    """The text cut to 60 bytes, at a character boundary."""
    return text.encode()[:60].decode(errors="ignore").strip("._-")


def find_job(share: SharedDir, name: str) -> Job | None:
    """The job with that name, None if there is none."""
    if not is_name(name):
        raise JobQueueError(f"job name: expected {NAMED}, got {sanitize(repr(name))}")
    path = share.layout.named_manifest(name)
    try:
        manifest = Manifest.from_bytes(share.system.read(path), path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise JobQueueError(
            f"{path.parent}: expected a directory with a job's manifest, got no directory; move it away"
        ) from None
    is_alike = manifest.name != name and manifest.name.casefold() == name.casefold()
    if is_alike and share.system.same_file(path, share.layout.named_manifest(manifest.name)):
        raise JobQueueError(
            f"job {name}: the file system of {share.layout.root} does not distinguish upper and lower case, and job "
            f"{manifest.name} has this name; use the exact name for that job, or another --name for a new one"
        )
    if manifest.name != name or not manifest.id.startswith(f"{name}."):  # a copy: cleaning it would remove another job
        raise JobQueueError(
            f"{path}: expected the manifest of job {name}, got that of {manifest.name} ({manifest.id}); move it away"
        )
    return Job(share, manifest)


def all_jobs(share: SharedDir, warn: Callable[[str], None] = lambda line: None) -> list[Job]:
    """All jobs, sorted by name. A job that cannot be read is reported through `warn` and left out."""
    jobs = []
    for name in share.system.list(share.layout.by_name):
        try:
            job = find_job(share, name)
            if job is not None:
                jobs.append(job)
        except OSError as error:
            if error.errno in RETRYABLE_ERRNOS:
                raise  # a temporary error: the jobs exist
            warn(str(error))
        except JobQueueError as error:
            warn(str(error))
    return jobs


def create_job(node: Node, name: str, lease: float, fill: Callable[[JobPaths], dict]) -> tuple[Job, bool]:
    """Create a job, or join the one that another node created a moment before.

    Args:
        node: this node.
        name: of the job.
        lease: seconds of silence after which the job's nodes count as dead.
        fill: puts the inputs into the new job's directory and returns the spec. Its work is discarded if another node
            was faster.

    Returns:
        The job, and whether this node created it.
    """
    share = node.share
    job_id = f"{name}.{secrets.token_hex(6)}"
    layout = share.layout.job(job_id)
    try:
        _begin(node, layout)
        for directory in layout.subdirectories():
            share.system.make_dirs(directory)
        manifest = Manifest(job_id, name, fill(layout), lease, sources=version())
        draft = node.temp_path()
        share.system.write_new(draft, manifest.to_bytes())
        _move(share.system, draft, layout.manifest)
        try:
            _take_name(node, manifest)
        except OSError as error:
            taken = error.errno in (errno.EEXIST, errno.ENOTEMPTY)
            found = _find_taken(share, name) if taken else find_job(share, name)  # ours, if the reply was lost
            if found is None:
                raise
            if found.manifest.id != job_id:
                _remove_quietly(node, layout)
                return found, False
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C, too, leaves no copy of a video behind
        if not _may_be_named(share, name, job_id):
            _remove_quietly(node, layout)
        if isinstance(error, FileNotFoundError):
            _check_alive(node, name)
        raise
    share.system.unlink(layout.creator)
    return Job(share, manifest), True


def _find_taken(share: SharedDir, name: str) -> Job:
    """The job that has taken a name. Waits, because this machine's view of the directory may be seconds old."""
    for _ in range(NAME_LOOKUP_TRIES):
        found = find_job(share, name)
        if found is not None:
            return found
        share.system.sleep(1.0)
    raise JobQueueError(
        f"{share.layout.name(name)}: expected a job or nothing, got a directory without a manifest; move it away"
    )


def _may_be_named(share: SharedDir, name: str, job_id: str) -> bool:
    try:
        found = find_job(share, name)
        return found is not None and found.manifest.id == job_id
    except JobQueueError:
        return False  # the name belongs to something else
    except OSError:
        return True  # then the job's files stay; recovery removes them if they have no name


def _begin(node: Node, layout: JobPaths) -> None:
    """Make a job's directory. It appears with the record of its creator in it."""
    system, draft = node.share.system, node.temp_path()
    system.make_dirs(draft)
    system.write_new(draft / layout.creator.name, node.identity.incarnation.encode())
    system.make_dirs(layout.root.parent)
    _move(system, draft, layout.root)
    system.write_new(layout.input_list, INPUT_LIST_HEADER)


def _check_alive(node: Node, name: str) -> None:
    """Raise JobQueueError if others considered this node dead and removed the files that it was making."""
    try:
        node.check()
    except EvictedError:
        raise JobQueueError(
            f"{name}: this machine was suspended or disconnected for longer than a lease while it created the job; "
            f"run the same command again"
        ) from None


def _take_name(node: Node, manifest: Manifest) -> None:
    """Give the job its name: rename a directory with the manifest in it.

    That is one atomic step, also without hard links. It never replaces another job's name, because a rename replaces
    only an empty directory.
    """
    system, draft = node.share.system, node.temp_path()
    system.make_dirs(draft)
    system.write_new(draft / "job.json", manifest.to_bytes())
    system.rename(draft, node.share.layout.name(manifest.name))


def _move(system: FileSystem, draft: Path, final: Path) -> None:
    """Rename to a name that no other node uses."""
    try:
        system.rename(draft, final)
    except FileNotFoundError:
        if not system.exists(final):  # else it happened, and only the reply was lost
            raise


def remove_job(node: Node, job: Job) -> Removal:
    """Remove the job's name first, then its files; nodes that still work on it find it gone.

    The node need not have joined: on a full disk it could not, and removing a job is the cure for that.

    Returns:
        Files that this program did not make. They stay.
    """
    share, layout = node.share, job.layout
    share.system.require_directory(layout.root)
    try:
        share.system.write_new(layout.creator, node.identity.incarnation.encode())  # if this node dies after the name
    except OSError:
        pass
    name, manifest = share.layout.name(job.name), share.layout.named_manifest(job.name)
    removal = share.system.remove(name, lambda entry, is_directory: entry == (name if is_directory else manifest))
    foreign, freed = removal.foreign, removal.freed
    for _ in range(REMOVAL_TRIES):  # a node may publish a last result meanwhile
        removal = remove_job_files(share, layout, node.identity.incarnation)
        freed += removal.freed
        if not removal.failed:
            break
    return Removal(foreign + removal.foreign, removal.failed, freed)


def _remove_quietly(node: Node, layout: JobPaths) -> None:
    """Remove a job's files. If that fails, recovery removes them after the creator has left."""
    try:
        remove_job_files(node.share, layout, node.identity.incarnation)
    except OSError:
        pass


def is_ended(job: Job) -> bool:
    """Whether a job is finished, cancelled or removed, according to the share now."""
    try:
        return bool(job.flags() & TERMINAL_FLAGS)
    except (JobRemovedError, OSError) as error:
        return isinstance(error, JobRemovedError)
