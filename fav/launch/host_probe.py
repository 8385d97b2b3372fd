"""Check one host before work starts: `python -m fav.launch.host_probe REQUEST` in the checkout there.

Prints one line, `preflight` and JSON, after other output of the machine. The exit code is 1 if a check failed.
"""

import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from fav.errors import FavError
from fav.launch.errors import LaunchError
from fav.model.backends import choose
from fav.pipeline.inputs import changed_inputs
from fav.pipeline.job_files import open_share
from fav.pipeline.spec import JobSpec
from fav.pipeline.training_job import is_training
from shared.errors import UserError, sanitize
from shared.filesystem import FileSystem
from shared.fscheck.local_checks import check_quickly
from shared.jobs import find_job
from shared.shared_dir import SharedDir
from shared.source_hash import version

MARK = "preflight "
LIBRARIES = ("av", "cv2", "torch")


@dataclass(frozen=True)
class ProbeRequest:
    """The job that a host is checked for, as the operator sends it.

    Attributes:
        root: path of the shared directory on the host.
        nonce_file: a file below `root` that the operator wrote; it shows whether both see the same directory.
        nonce: the file's content.
        job: name of the job.
        version: of the program on the operator's machine.
        devices: of the nodes that will start there.
        backend: of these nodes.
    """

    root: str
    nonce_file: str
    nonce: str
    job: str
    version: str
    devices: tuple[str, ...] = ("auto",)
    backend: str = "auto"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class HostReport:
    """The result of the check.

    Attributes:
        host: the host name that its nodes have.
        cores: CPU cores that a node may use there.
        wrong: a message for each failed check.
    """

    host: str
    cores: int
    wrong: tuple[str, ...] = ()

    @classmethod
    def read(cls, output: str) -> "HostReport | None":
        """Find the report in a host's output, None if there is none."""
        for line in output.splitlines():
            if line.startswith(MARK):
                try:
                    fields = json.loads(line.removeprefix(MARK))
                    wrong = tuple(sanitize(one, 500) for one in fields["wrong"])
                    return cls(sanitize(fields["host"]), max(int(fields["cores"]), 1), wrong)
                except (ValueError, KeyError, TypeError):
                    return None
        return None


def probe_host(request: ProbeRequest) -> HostReport:
    """Run all checks, except those that depend on a failed one."""
    here = HostReport(socket.gethostname(), len(os.sched_getaffinity(0)))
    if request.version != (own := version()):
        return HostReport(
            here.host,
            here.cores,
            (
                f"another version of this program: expected {request.version}, got {own}; "
                f"install the same version there, then bash install.sh",
            ),
        )
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        return HostReport(
            here.host,
            here.cores,
            (
                f"{sys.executable}: expected {', '.join(missing)}, found none; bash install.sh "
                f"there (a hosts file: python= says where a Python that has them is)",
            ),
        )
    wrong = _devices(request)
    try:
        share = _same_share(request)
        check_quickly(share)
        wrong += _inputs(share, request.job)
    except UserError as error:
        wrong.append(str(error))
    return HostReport(here.host, here.cores, tuple(wrong))


def _same_share(request: ProbeRequest) -> SharedDir:
    """Open the shared directory if it is the operator's. Nothing is written into another one."""
    root = Path(request.root)
    try:
        nonce = FileSystem().read(root / request.nonce_file).decode(errors="replace")
    except PermissionError as error:
        raise LaunchError(f"{root}: expected a shared directory that this user may read ({error.strerror})") from None
    except OSError:
        nonce = None
    if nonce != request.nonce and root.is_dir():
        raise LaunchError(
            f"{root}: expected the operator's shared directory, got another one (a hosts file: share= says where it is)"
        )
    if nonce != request.nonce:
        raise LaunchError(
            f"{root}: expected the shared directory, found nothing; mount it (a hosts file: share= says where it is)"
        )
    return open_share(root, new=False)


def _inputs(share: SharedDir, name: str) -> list[str]:
    job = find_job(share, name)
    if job is None:
        return [f"{share.layout.root}: expected job {name} there, found none"]
    if is_training(job):
        return []  # its inputs are in the share; a node compares them before its first task
    return changed_inputs(share.layout.root, JobSpec.from_json(job.manifest.spec))


def _devices(request: ProbeRequest) -> list[str]:
    wrong = []
    for device in dict.fromkeys(request.devices):
        try:
            if device not in ("auto", "cpu"):
                from fav.model.devices import device_of  # slow to import, and rarely needed

                device_of(device)
            if request.backend != "auto":
                choose(request.backend, device)
        except FavError as error:
            wrong.append(str(error))
    return wrong


if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    report = probe_host(ProbeRequest(**{**fields, "devices": tuple(fields["devices"])}))
    print(MARK + json.dumps(asdict(report)))
    sys.exit(bool(report.wrong))
