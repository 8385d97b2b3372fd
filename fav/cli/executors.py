"""Where nodes are started: options of commands that run a job, and the executor that they ask for."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fav.cli.options import FILE, RenamedOption
from fav.launch.executor import Executor
from fav.launch.local_launcher import LocalExecutor
from fav.launch.slurm_launcher import SlurmExecutor
from shared.option_types import WholeType

HOSTS_HELP = ("Start nodes on these machines by ssh instead: one host per line (docs/how-to/cluster.md). The file is read "
              "again while they work.")  # fmt: skip
SLURM_HELP = "Have Slurm start this many nodes instead, as resources become free (docs/how-to/cluster.md)."
DASK_HELP = ("Run a node on each worker of this Dask cluster instead: tcp://HOST:8786, or a scheduler file "
             "(docs/how-to/cluster.md).")  # fmt: skip
DASK = click.option("--dask", metavar="ADDRESS", help=DASK_HELP)
ELSEWHERE = [
    click.option("--hosts", type=FILE, metavar="FILE", help=HOSTS_HELP),
    click.option(
        "--skip-failed-hosts",
        cls=RenamedOption,
        former=("--skip-unfit",),
        is_flag=True,
        help="Begin with the hosts that pass all checks, and check the others again every minute.",
    ),
    click.option("--slurm", type=WholeType(1), metavar="NODES", help=SLURM_HELP),
    click.option(
        "--sbatch",
        default="",
        metavar="OPTIONS",
        help='For --slurm: options of sbatch, like "--partition=lab --gres=gpu:1".',
    ),
]


@dataclass(frozen=True)
class Launch:
    """Where nodes are started, as it was typed; the attributes are the options' names."""

    nodes: int
    hosts: Path | None
    skip_failed_hosts: bool
    slurm: int | None
    sbatch: str
    dask: str | None = None

    @classmethod
    def take(cls, values: dict[str, Any]) -> "Launch":
        """Take its options out of those of a command."""
        return cls(**{name: values.pop(name) for name in cls.__dataclass_fields__ if name in values})

    @property
    def elsewhere(self) -> list[str]:
        """The options that name other machines than this one."""
        typed = {"--hosts": self.hosts, "--slurm": self.slurm, "--dask": self.dask}
        return [name for name, value in typed.items() if value is not None]

    def check(self, context: click.Context) -> None:
        """Raise click.UsageError if options do not fit together."""
        if len(self.elsewhere) > 1:
            number = "both" if len(self.elsewhere) == 2 else "all"
            raise click.UsageError(f"{' and '.join(self.elsewhere)}: expected one of them, got {number}")
        if self.hosts and context.get_parameter_source("device") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--device is not for --hosts: there, the hosts file says devices=LIST or gpus=N")
        if self.elsewhere and context.get_parameter_source("nodes") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                "--nodes is for this machine: with --hosts, the hosts file says nodes=N; --slurm has a number "
                "itself; with --dask there is one a worker"
            )
        if self.skip_failed_hosts and not self.hosts:
            raise click.UsageError("--skip-failed-hosts: expected with --hosts")
        if self.sbatch and not self.slurm:
            raise click.UsageError("--sbatch: expected with --slurm")

    def executor(self, device: str, backend: str, log: list[str]) -> Executor:
        """The executor that the options ask for. `log` are log options of its nodes."""
        if self.slurm:
            return SlurmExecutor(self.slurm, device, backend, shlex.split(self.sbatch), log)
        if self.dask is not None:
            from fav.launch.dask_launcher import DaskExecutor

            return DaskExecutor(self.dask, device, backend, log)
        if self.hosts:
            from fav.launch.ssh_launcher import SSHExecutor

            return SSHExecutor(self.hosts, backend, self.skip_failed_hosts, log)
        return LocalExecutor(self.nodes, device, backend, log)
