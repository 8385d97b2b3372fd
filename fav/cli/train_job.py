"""`fav train SHARED …`: the training is a job on a shared directory, and nodes here and elsewhere work on it."""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource
from msgspec.structs import replace

from fav.cli.executors import ELSEWHERE, Launch
from fav.cli.log_options import log_settings
from fav.cli.options import request_of
from fav.errors import FavError
from fav.launch.executor import Executor, run_job
from fav.monitor.console import tell
from fav.monitor.snapshot import SnapshotReader
from fav.monitor.text import failures
from fav.pipeline.arguments import IMAGES, check_arguments
from fav.pipeline.job_files import open_share
from fav.pipeline.job_naming import default_name
from fav.pipeline.spec import LOSS_NETWORK
from fav.pipeline.training_job import training_of
from fav.training.config import FITTED_ITERATIONS, PAINTING_ALONE, TrainingConfig, TrainingInputs
from shared.command_names import command
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.notify import notify_on_exit
from shared.option_types import WholeType
from shared.paths import SharedDirPaths
from shared.shared_dir import SharedDir

logger = logging.getLogger(__name__)

LOCAL_OPTIONS = ("minutes", "device", "workers", "save_every", "sheet_every")  # not for a job
SHARED_OPTIONS = (
    "nodes",
    "hosts",
    "skip_failed_hosts",
    "slurm",
    "sbatch",
    "seeds",
    "task_iterations",
    "name",
    "bit_exact",
)
MAX_SEEDS = 100
JOB_OPTIONS = [
    click.option(
        "--nodes",
        type=WholeType(0, 1000),
        default=1,
        show_default=True,
        help="With SHARED: nodes to start on this machine; 0: only make the job.",
    ),
    *ELSEWHERE,
    click.option(
        "--seeds",
        type=WholeType(1, MAX_SEEDS),
        metavar="N",
        default=1,
        show_default=True,
        help="With SHARED: learn each painting with N seeds, from --rng-seed on, and keep the best style.",
    ),
    click.option(
        "--task-iterations",
        type=WholeType(1),
        metavar="N",
        help="With SHARED: iterations of a task. A node that dies loses at most one task.  [default: 25]",
    ),
    click.option("--name", help="With SHARED: the job's name.  [default: train--STYLE_IMAGE]"),
    click.option("--bit-exact", is_flag=True, help="With SHARED: only machines that compute the same bits may join."),
]


@dataclass(frozen=True)
class TypedTraining:
    """A training as it was typed; `out` is None if its name follows from the painting."""

    inputs: TrainingInputs
    paintings: tuple[Path, ...]
    config: TrainingConfig
    iterations: int
    out: str | None
    seeds: int
    task_iterations: int | None


def shared_of(inputs: Sequence[Path]) -> Path | None:
    """The shared directory of a command line; None if the training is local.

    It is the first argument, if that is a marked directory, or an empty directory before a file. The first argument of a local
    training is never such a directory.
    """
    if not inputs or not inputs[0].is_dir():
        return None
    first = inputs[0]
    if SharedDirPaths(first).marker.is_file():
        return first
    is_empty = not any(first.iterdir())
    return first if is_empty and len(inputs) > 1 and inputs[1].is_file() else None


def sort_for_share(
    shared: Path, words: Sequence[Path], model: Path | None
) -> tuple[tuple[Path, ...], Path | None, Path | None]:
    """The paintings (or the model), the folder of photographs or None, and the style to write or None.

    Raises:
        FavError: the words are not as expected.
    """
    expected = f"SHARED {'' if model else 'STYLE_IMAGE… '}[PHOTOS_DIR] [OUT.safetensors]"
    paintings, photos, out = [model] if model else [], None, None
    for word in words:
        if word.is_dir() and photos is None and out is None:
            photos = word
        elif word.suffix == ".safetensors" and out is None:
            out = word
        elif not model and photos is None and out is None and not word.is_dir():
            paintings.append(word)
        else:
            raise FavError(f"expected {expected}, got {word} where it does not fit")
    if not paintings:
        raise FavError(f"expected {expected}, got no painting to learn from")
    if out is not None and out.is_absolute():
        try:
            out = (out.parent.resolve() / out.name).relative_to(shared.resolve())
        except ValueError:
            raise FavError(f"{out}: expected a name inside SHARED ({shared})") from None
    return tuple(paintings), photos, out


def refuse_options(context: click.Context, names: Sequence[str], reason: str) -> None:
    """Raise FavError if one of these options was typed."""
    for parameter in context.command.params:
        typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and typed:
            what = "; a job counts --iterations" if parameter.name == "minutes" else ""
            where = "; each node has its own" if parameter.name == "device" else ""
            raise FavError(f"{parameter.opts[0]}: {reason}{what}{where}")


def train_in_share(
    context: click.Context,
    shared: Path,
    typed: TypedTraining,
    name: str | None,
    bit_exact: bool,
    launch: Launch,
    words: str,
) -> None:
    """Make the job or join it, start nodes, and follow them. Exits with 1 if the styles are not made."""
    from fav.training.job_submit import TrainingRequest, style_names, submit_training  # imports torch

    share = open_share(shared)
    request = TrainingRequest(
        typed.inputs,
        typed.paintings,
        typed.config,
        typed.iterations,
        style_names(typed.paintings, typed.out),
        typed.seeds,
        typed.task_iterations,
        name,
        typed.inputs.threads,
        bit_exact,
        command=words,
    )
    executor = launch.executor("auto", "auto", log_settings(context).words())
    with executor.ready():
        with notify_on_exit(share) as node:
            submitted = submit_training(node, request)
        job = report_submission(share, submitted.job, submitted.created, submitted.notes)
        if job.flag_text("finished"):
            tell_result(job, [])
        elif launch.nodes == 0:
            root = share.layout.root
            logger.info("nodes learn it: %s %s, here or on any machine that mounts it", command("node"), root)
        else:
            tell_result(job, run_job(job, executor))


def report_submission(share: SharedDir, job: Job, created: bool, notes: Sequence[str]) -> Job:
    """Print which job was made or joined, and the notes."""
    tell(f"{'created' if created else 'joined'} job {job.name}")
    if created and share.creation_notice:
        logger.info("%s", share.creation_notice)
    for note in notes:
        logger.info("%s", note)
    return job


def tell_result(job: Job, logs: Sequence[Path]) -> None:
    """Print the new styles and the verdicts. Exits with 1 if they are not made."""
    from fav.pipeline.training_files import deliver_styles

    now = SnapshotReader(job.share, once=True).job(job)
    if style := job.flag_text("finished"):
        path = job.share.layout.root / style
        if not path.exists():
            with temporary_member(job.share) as node:
                path = deliver_styles(node, job, training_of(job))[0]
        for line in now.learning:
            logger.info("%s", line)
        tell(f"done: {path}")
        return
    if "cancelled" in job.flags():
        tell("cancelled")
        sys.exit(1)
    for line in failures(now):
        tell(line, err=True)
    where = f"; the logs of the nodes are {', '.join(map(str, logs))}" if logs else ", and no node started"
    tell(f"not finished{where}", err=True)
    sys.exit(1)


def is_painting(style: Path) -> bool:
    """Whether STYLE of a film is a painting, from which a style can be learned."""
    return style.suffix.lower() in IMAGES and style.is_file()


def submit_style_and_film(context: click.Context, shared: Path, video: str, painting: Path, values: dict) -> Job:
    """Make the job that learns a style from a painting and makes a film of the video with it, or join it."""
    from fav.perceptual.pretrained import load_loss_network
    from fav.pipeline.film_request import check_film, film_record, options_of
    from fav.training.job_submit import TrainingRequest, style_names, submit_training

    values = {**values}
    network = values.pop("loss_network")  # of the training: the film is not measured
    typed = request_of(context, video, painting, {**values, "loss_network": None})
    typed = replace(typed, given=typed.given - {"loss_network"})
    check_arguments(video, Path("style.safetensors"), shared)
    check_film(typed)
    load_loss_network(str(network or LOSS_NETWORK))  # downloads it if necessary; no job is made without it
    share = open_share(shared)
    config = TrainingConfig(painting.name, **PAINTING_ALONE)
    request = TrainingRequest(
        TrainingInputs(painting, None, str(network or LOSS_NETWORK), nearest=True),
        (painting,),
        config,
        FITTED_ITERATIONS,
        style_names((painting,), None),
        threads=values["threads"],
        bit_exact=values["bit_exact"],
        lease=values["lease"],
        command=f"fav train {shlex.quote(painting.name)}",
        film=lambda share, layout, note: film_record(share, layout, typed, note),
        film_options=options_of(typed),
    )
    with notify_on_exit(share) as node:
        submitted = submit_training(node, request)
    report_submission(share, submitted.job, submitted.created, submitted.notes)
    if submitted.created:
        logger.info("the film follows when the style is learned: %s", default_name(typed))
    return submitted.job


def run_training_and_film(job: Job, executor: Executor) -> Job | None:
    """Follow a training, then return the job of the film that it has made; None if there is none."""
    if not job.flag_text("finished"):
        tell_result(job, run_job(job, executor))
    return find_film(job)


def find_film(job: Job) -> Job | None:
    """The job of the film that a finished training has made."""
    from fav.pipeline.training_progress import film_job

    name = film_job(job) if training_of(job).film else None
    return find_job(job.share, name) if name else None
