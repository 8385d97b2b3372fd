"""Jobs: created once by whoever is first, read by everybody, never edited."""

import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

from .errors import JobGone, ShareError
from .layout import JobLayout
from .nodes import LEASE_S, MALFORMED, SHORTEST_LEASE_S, VERSION, Node
from .share import Share
from .system import PASSING

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


@dataclass(frozen=True)
class Manifest:
    """What a job is. `spec` belongs to the bridge that knows what its tasks do."""

    id: str
    name: str
    spec: dict
    lease: float = LEASE_S
    version: int = VERSION

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Manifest":
        """Raises ShareError where this is not a manifest that this version can serve."""
        try:
            fields = json.loads(data)
            if fields["version"] > VERSION:
                raise ShareError(f"{where}: the job was made by a newer version of this program; update this machine")
            manifest = cls(str(fields["id"]), str(fields["name"]), dict(fields["spec"]), float(fields["lease"]))
        except MALFORMED as error:
            raise ShareError(f"{where}: expected the manifest of a job, got {data[:40]!r} ({error!r})") from None
        if not (NAME.fullmatch(manifest.name) and NAME.fullmatch(manifest.id)) or not SHORTEST_LEASE_S <= manifest.lease < 1e6:
            raise ShareError(f"{where}: expected the manifest of a job, got a name or lease that no job has")
        return manifest


class Job:
    """One job in one shared directory."""

    def __init__(self, share: Share, manifest: Manifest):
        self.share = share
        self.manifest = manifest
        self.layout: JobLayout = share.layout.job(manifest.id)

    @property
    def name(self) -> str:
        return self.manifest.name

    def marks(self) -> set[str]:
        """The marks set on the job (`cancelled`, `finished`). JobGone where it was cleaned."""
        names = set(self.share.system.list(self.layout.root))
        if "job.json" not in names:
            raise JobGone(f"job {self.name} was removed while it was being worked on")
        return names & {"cancelled", "finished"}

    def mark(self, node: Node, mark: str, word: str = "") -> None:
        """Set a mark, with a word for who reads it; the first word stays."""
        draft = node.draft()
        self.share.system.write_new(draft, word.encode())
        try:
            self.share.appear(draft, self.layout.mark(mark))
        except FileExistsError:
            pass
        finally:
            self.share.system.unlink(draft)

    def word(self, mark: str) -> str | None:
        """The word that a mark was set with, None where it is not set."""
        try:
            return self.share.system.read(self.layout.mark(mark)).decode(errors="replace")
        except FileNotFoundError:
            return None

    def unmark(self, mark: str) -> None:
        self.share.system.unlink(self.layout.mark(mark))


def job_name(*parts: str) -> str:
    """A job's name made of the stems of what it is about; whatever a file may be called, the name is tame."""
    tame = "--".join(re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip("._-")[:60] or "x" for part in parts)
    return tame


def find_job(share: Share, name: str) -> Job | None:
    """The job of that name, None where there is none."""
    if not NAME.fullmatch(name):
        raise ShareError(f"job name: expected letters, digits, '.', '_' and '-', got {name!r}")
    try:
        path = share.layout.name(name)
        data = share.system.read(path)
        return Job(share, Manifest.from_bytes(data, path)) if data else None
    except FileNotFoundError:
        return None


def all_jobs(share: Share, complain: Callable[[str], None] = lambda line: None) -> list[Job]:
    """Every job, by name; one that cannot be read is complained of and left out."""
    jobs = []
    for name in share.system.list(share.layout.names):
        try:
            job = find_job(share, name)
            if job is not None:
                jobs.append(job)
        except OSError as error:
            if error.errno in PASSING:
                raise  # the jobs are there, they only could not be read just now
            complain(str(error))
        except ShareError as error:
            complain(str(error))
    return jobs


def create_job(node: Node, name: str, lease: float, fill: Callable[[JobLayout], dict]) -> tuple[Job, bool]:
    """Create the job, or join the one that another node created a moment before.

    `fill` puts the inputs into the new job's directory and returns the spec; its work is thrown away
    where another node was faster. Returns the job, and whether it is ours.
    """
    share = node.share
    job_id = f"{name}.{secrets.token_hex(6)}"
    layout = share.layout.job(job_id)
    try:
        share.system.make_dirs(layout.root)
        share.system.write_new(layout.creator, node.identity.incarnation.encode())
        for room in layout.rooms():
            share.system.make_dirs(room)
        manifest = Manifest(job_id, name, fill(layout), lease)
        share.system.write_new(layout.manifest, manifest.to_bytes())
        try:
            _take_name(node, manifest)
        except OSError as error:
            found = find_job(share, name)  # ours, if only the reply was lost
            if found is None and isinstance(error, FileExistsError):
                raise ShareError(f"{share.layout.name(name)}: the name is taken by an empty file; if nobody is making "
                                 f"this job right now, remove it") from None
            if found is None:
                raise
            if found.manifest.id != job_id:
                share.system.remove_tree(layout.root)
                return found, False
    except BaseException:
        if not _may_be_named(share, name, job_id):
            share.system.remove_tree(layout.root)
        raise
    share.system.unlink(layout.creator)
    return Job(share, manifest), True


def _may_be_named(share: Share, name: str, job_id: str) -> bool:
    try:
        found = find_job(share, name)
        return found is not None and found.manifest.id == job_id
    except (OSError, ShareError):
        return True  # then it stays; recovery removes what has no name


def _take_name(node: Node, manifest: Manifest) -> None:
    share, final = node.share, node.share.layout.name(manifest.name)
    if not share.hard_links:  # a rename would take the name from another job
        share.system.write_new(final, manifest.to_bytes())
        return
    draft = node.draft()
    share.system.write_new(draft, manifest.to_bytes())
    try:
        share.system.link(draft, final)
    finally:
        share.system.unlink(draft)


def remove_job(node: Node, job: Job) -> None:
    """Take the name away first, then all files; nodes that still work on it find it gone."""
    try:
        node.share.system.write_new(job.layout.creator, node.identity.incarnation.encode())  # if we die without the name
    except OSError:
        pass
    node.share.system.unlink(node.share.layout.name(job.name))
    grave = node.draft()  # if we die now, who sweeps after us removes it
    try:
        node.share.system.rename(job.layout.root, grave)
    except FileNotFoundError:
        return
    node.share.system.remove_tree(grave)
