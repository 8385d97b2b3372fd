"""A real Slurm on this machine alone: munged, slurmctld and a slurmd for each of several computers that are all this one."""

import os
import re
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from tests.helpers.waiting import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
CONFIGURATION = """
ClusterName=fav
SlurmctldHost=localhost(127.0.0.1)
AuthInfo=socket={place}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/%n.pid
SlurmdSpoolDir={place}/spool/%n
StateSaveLocation={place}/state
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=20
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
NodeName=n[1-{computers}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=1000 Gres=card:1
GresTypes=card
PartitionName=lab Nodes=ALL Default=YES State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here; None if there can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not here: apt install slurm-wlm munge"
    return None if os.geteuid() == 0 else "needs root, as Slurm's daemons do"


class Slurm:
    """Computers n1, n2 … of 2 cores each, and one `card` each, a count-only GRES."""

    def __init__(self, place: Path, computers: int = 3):
        self.place, self.computers = place, computers
        for name in ("state", *(f"spool/n{number}" for number in range(1, computers + 1))):
            (place / name).mkdir(parents=True)
        key = place / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        first = free_ports(computers + 1)
        text = CONFIGURATION.format(
            place=place, port=first + computers, computers=computers, first=first, last=first + computers - 1
        )
        (place / "slurm.conf").write_text(text)
        self.environment = {**os.environ, "SLURM_CONF": str(place / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        files = {name: f"--{name}-file={self.place}/munge.{name}" for name in ("pid", "log", "seed")}
        self._run_daemon(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={self.place}/munge.key",
            f"--socket={self.place}/munge.socket",
            *files.values(),
        )
        wait_for((self.place / "munge.socket").exists)
        self._run_daemon("slurmctld", "-D")
        for number in range(1, self.computers + 1):
            self._run_daemon("slurmd", "-D", "-N", f"n{number}")
        wait_for(lambda: self.call("sinfo", "-h", "-o", "%T %D").strip() == f"idle {self.computers}")

    def stop(self) -> None:
        self.call("scancel", "--user=root")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            daemon.wait()

    def call(self, *words) -> str:
        """What a command of Slurm's says."""
        found = subprocess.run(list(map(str, words)), env=self.environment, capture_output=True, text=True)
        return found.stdout + found.stderr

    def submit(self, script: Path, *words, options: tuple = ()) -> str:
        """The number of a Slurm job that was queued; it runs in the checkout."""
        said = self.call(
            "sbatch", "--chdir", script.parent.parent, "--output", self.place / "%A-%a.out", *options, script, *words
        )
        found = re.search(r"Submitted batch job (\d+)", said)
        assert found, said
        return found[1]

    def states(self, number: str) -> dict[str, str]:
        """RUNNING, PENDING and so on of the parts of a Slurm job that are in the queue."""
        lines = self.call("squeue", "-h", "--array", "-j", number, "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines if re.fullmatch(r"[\d_]+ [A-Z]+", line))

    def hurry(self, part: str, *changes: str) -> None:
        """Let a part of a Slurm job that was requeued begin soon, with such changes: Slurm holds those back for two minutes.

        Not at once: slurmd refuses credentials of the second in which it revoked those of the job's run before.
        """
        wait_for(lambda: "Reason=BeginTime" in self.call("scontrol", "show", "job", part), 120)
        self.call("scontrol", "update", f"JobId={part}", "StartTime=now+3", *changes)

    def said(self, number: str) -> str:
        """What its parts have printed."""
        return "".join(path.read_text() for path in sorted(self.place.glob(f"{number}-*.out")))

    def _run_daemon(self, *words: str) -> None:
        with open(self.place / "daemons.log", "ab") as log:
            self._daemons.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    for first in range(21_000, 60_000, 50):
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise OSError("no ports")
