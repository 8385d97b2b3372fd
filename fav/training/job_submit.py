"""Make a job that learns styles: check all inputs, copy them into the share, and write the record; or join it."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from fav.errors import FavError, sanitize
from fav.model.devices import device_of
from fav.perceptual.pretrained import PUBLISHED, cached_network
from fav.pipeline.film_output import check_output_directory
from fav.pipeline.provenance import made_here
from fav.pipeline.request import check_out
from fav.pipeline.training_files import taken_output
from fav.pipeline.training_job import CHAIN, FILES, TrainingChain, TrainingJob, is_training, training_of
from fav.training.config import TrainingConfig, TrainingInputs
from fav.training.image_folder import SUFFIXES
from fav.training.setup import NO_NETWORK, PreparedTraining, prepare_trainer
from fav.training.steps import with_iterations
from fav.util.atomic import exclusive
from fav.util.image_sequence import is_sequence
from fav.util.text import format_bytes
from shared.attempts import reopen
from shared.command_names import command
from shared.jobs import Job, create_job, find_job, job_name
from shared.membership import Node
from shared.ownership import record_inputs
from shared.paths import NAMED, JobPaths, is_name
from shared.settings import LEASE_S
from shared.shared_dir import SharedDir

TASK_ITERATIONS = 25  # of a task: about a minute of two cores


@dataclass(frozen=True)
class TrainingRequest:
    """What was typed.

    Attributes:
        inputs: what is read; `style_image` is the first of `paintings`.
        paintings: one for each style.
        config: the options; `style` and `seed` are those of the first chain.
        iterations: of each chain.
        outs: the styles, relative to the shared directory, one for each painting.
        seeds: chains for each painting, with one seed each.
        task_iterations: of a task; None: TASK_ITERATIONS, or more in a long training.
        name: of the job; None: from the paintings.
        threads: CPU threads of every node; None: their own.
        bit_exact: only nodes of one numeric class may join.
        lease: of the job, in seconds.
        command: the line that was typed, without paths.
        film: puts what a film with the style needs into the job, and returns the record (`fav.pipeline.film_request`).
        film_options: what decides whether two requests for a film are equal; None: no film.
    """

    inputs: TrainingInputs
    paintings: tuple[Path, ...]
    config: TrainingConfig
    iterations: int
    outs: tuple[str, ...]
    seeds: int = 1
    task_iterations: int | None = None
    name: str | None = None
    threads: int | None = None
    bit_exact: bool = False
    lease: float = LEASE_S
    command: str = ""
    film: Callable[[SharedDir, JobPaths, Callable[[str], None]], dict[str, Any]] | None = None
    film_options: dict[str, Any] | None = None


@dataclass(frozen=True)
class SubmittedTraining:
    """A job, whether this request created it, and notes for the user."""

    job: Job
    created: bool
    notes: tuple[str, ...] = ()


def submit_training(node: Node, request: TrainingRequest) -> SubmittedTraining:
    """Create the job of a request, or join it.

    Raises:
        FavError: an input or option is not valid, or a job with that name has others. No job is created.
    """
    share, root = node.share, node.share.layout.root
    for out in request.outs:
        check_out(out)
        check_output_directory(share, out)
    if len(set(request.outs)) < len(request.outs):
        raise FavError(
            f"expected paintings with different names, got two for {max(request.outs, key=request.outs.count)}; rename one"
        )
    each = request.task_iterations or max(TASK_ITERATIONS, -(-request.iterations // CHAIN))
    if -(-request.iterations // each) > CHAIN:
        raise FavError(
            f"--task-iterations: expected at least {-(-request.iterations // CHAIN)} for {request.iterations} iterations, "
            f"got {each}"
        )
    request, network = _with_loss_network(request)
    chains, notes = _checked(request)
    name, job = _find_or_name(share, request, chains)
    if job is not None:
        return _join(job)
    if taken := taken_output(root, request.outs):
        raise FavError(f"{taken}: expected a free name for the new style, but the file exists; choose another OUT")
    files = _files(request, network)
    size = sum(file.stat().st_size for some in files.values() for file in some)
    _check_space(share, size, chains)
    told: list[str] = []

    def fill(layout: JobPaths) -> dict:
        record = _import(share, layout, request, chains, files)
        film = request.film(share, layout, told.append) if request.film else None
        training = TrainingJob(
            **record,
            iterations=request.iterations,
            task_iterations=each,
            threads=request.threads,
            bit_exact=request.bit_exact,
            command=request.command,
            notes=tuple(sanitize(note, 500) for note in notes),
            provenance=_provenance(request),
            film=film,
        )
        return msgspec.json.decode(msgspec.json.encode(training.to_spec()))

    job, created = create_job(node, name, request.lease, fill)
    training_of(job)  # as nodes will read it
    if not created:
        return submit_training(node, request)  # another process was first
    count = sum(map(len, files.values()))
    told.insert(0, f"copied into the job: {count} file{'s'[: count != 1]}, {format_bytes(size)}")
    return SubmittedTraining(job, True, (*notes, *told))


def _with_loss_network(request: TrainingRequest) -> tuple[TrainingRequest, Path | None]:
    """The request with the file of its loss network; None: only pixels are compared."""
    name = request.inputs.loss_network
    if name == NO_NETWORK:
        return request, None
    path = cached_network(name) if name in PUBLISHED else Path(name)
    return replace(request, inputs=replace(request.inputs, loss_network=str(path))), path


@dataclass(frozen=True)
class _CheckedChain:
    """A chain whose inputs were read: its painting, its style and its complete config."""

    painting: Path
    out: str
    config: TrainingConfig
    init: Path | None

    @property
    def label(self) -> str:
        return sanitize(f"{self.painting.stem}, seed {self.config.seed}", 200)


def _checked(request: TrainingRequest) -> tuple[list[_CheckedChain], list[str]]:
    """Read all inputs as a node will, and return the chains and notes for the user."""
    cpu = device_of("cpu")
    chains: list[_CheckedChain] = []
    notes: list[str] = []
    for painting, out in zip(request.paintings, request.outs):
        config = replace(with_iterations(request.config, request.iterations), style=painting.name)
        inputs = replace(request.inputs, style_image=painting)
        prepared = _prepared(inputs, config, cpu)
        notes += [*(f"{painting.name}: {line}" for line in prepared.style_notes if line), *prepared.folder.notes]
        chains += [
            _CheckedChain(painting, out, replace(prepared.trainer.config, seed=config.seed + number), prepared.init)
            for number in range(request.seeds)
        ]
    return chains, list(dict.fromkeys(notes))


def _prepared(inputs: TrainingInputs, config: TrainingConfig, device: torch.device) -> PreparedTraining:
    with torch.random.fork_rng():
        return prepare_trainer(inputs, config, device)


def _find_or_name(
    share: SharedDir, request: TrainingRequest, chains: Sequence[_CheckedChain]
) -> tuple[str, Job | None]:
    """The name of a new job, and None; or the name and the job that learns the same."""
    base = request.name or job_name("train", *[painting.stem for painting in request.paintings[:2]])
    if not is_name(base):
        raise FavError(
            f"--name: expected {NAMED}, and not '-', '.' or '_' first, got {base[:200]!r}; {job_name(base)} would do"
        )
    names = [base] if request.name else itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    for name in names:
        job = find_job(share, name)
        if job is None or not (different := _differences(job, request, chains)):
            return name, job
        if request.name:
            raise FavError(f"job {name} exists with other options ({different}); use another --name for this one")
    raise AssertionError("the candidates never end")


def _differences(job: Job, request: TrainingRequest, chains: Sequence[_CheckedChain]) -> str:
    """How an existing job differs from a request, in words; empty if it learns the same."""
    if not is_training(job):
        return "it makes a film"
    there = training_of(job)
    if [chain.out for chain in there.chains] != [chain.out for chain in chains]:
        return "it learns other styles"
    words = [
        word for old, new in zip(there.chains, chains) for word in new.config.differences({**_DEFAULTS, **old.recipe})
    ]
    if there.iterations != request.iterations:
        words.append(f"--iterations {there.iterations}, not {request.iterations}")
    if there.threads != request.threads:
        words.append(f"--threads {there.threads}, not {request.threads}")
    if there.bit_exact != request.bit_exact:
        words.append("--bit-exact differs")
    film = there.film and there.film.get("options")
    if film != request.film_options:
        words.append("another film is to be made")
    return "; ".join(dict.fromkeys(words))


_DEFAULTS = TrainingConfig("").to_json()


def _join(job: Job) -> SubmittedTraining:
    flags = job.flags()
    if "cancelled" in flags:
        raise FavError(f"job {job.name} was cancelled; {command('retry')} continues it, {command('clean')} removes it")
    opened = 0 if "finished" in flags else reopen(job)
    return SubmittedTraining(job, False, (f"{opened} failed task(s) reopened",) if opened else ())


# ---- inputs
def _files(request: TrainingRequest, network: Path | None) -> dict[str, list[Path]]:
    """The files that are copied into the job, by the name of the input."""
    inputs, files = request.inputs, {"style": [*request.paintings]}
    if network:
        files["loss_network"] = [network]
    for name, directory, suffixes in (("photos", inputs.photos, SUFFIXES), ("clips", inputs.clips, None)):
        if directory:
            files[name] = [
                path
                for path in sorted(directory.rglob("*"))
                if path.is_file() and (suffixes is None or path.suffix.lower() in suffixes)
            ]
    if inputs.video:
        if is_sequence(str(inputs.video)):
            raise FavError(f"--video: expected a file, got numbered images: {inputs.video}; give them as PHOTOS_DIR")
        files["video"] = [inputs.video]
    return files


def _check_space(share: SharedDir, size: int, chains: Sequence[_CheckedChain]) -> None:
    """Raise FavError unless the inputs and the states of all chains fit into the share."""
    from fav.model.network import StyleNetwork

    with torch.device("meta"):
        weights = [sum(value.numel() for value in StyleNetwork(chain.config.arch, 7).parameters()) for chain in chains]
    need, free = size + sum(4 * 5 * 3 * count for count in weights), share.system.free_bytes(share.layout.root)
    if need > free:
        raise FavError(
            f"{share.layout.root}: expected space for {format_bytes(need)} of inputs and states, got {format_bytes(free)}; "
            f"free some space ({command('clean')} removes a job)"
        )


def _import(
    share: SharedDir,
    layout: JobPaths,
    request: TrainingRequest,
    chains: Sequence[_CheckedChain],
    files: dict[str, list[Path]],
) -> dict[str, Any]:
    """Copy the inputs into a new job; return the fields of the record that name them."""
    targets: dict[Path, Path] = {}  # by source

    def put(source: Path, target: Path) -> str:
        if source not in targets:
            record_inputs(share, layout, [target])
            share.system.make_dirs(target.parent, below=layout.root)
            with exclusive(target) as file:
                shutil.copyfile(source, file)
            share.system.sync(target)
            targets[source] = target
        return targets[source].relative_to(share.layout.root).as_posix()

    record: dict[str, Any] = {"photos": None, "clips": None, "video": None, "loss_network": None}
    for name, directory in (("photos", request.inputs.photos), ("clips", request.inputs.clips)):
        if directory:
            place = layout.inputs / name
            _copy_tree(share, layout, directory, files[name], place)
            record[name] = place.relative_to(share.layout.root).as_posix()
    for name in ("video", "loss_network"):
        for source in files.get(name, ()):
            record[name] = put(source, layout.inputs / f"{name}{source.suffix}")
    made = []
    for chain in chains:
        number = request.paintings.index(chain.painting)
        style = put(chain.painting, layout.inputs / f"style-{number}{chain.painting.suffix}")
        init = chain.init and put(chain.init, layout.inputs / f"init-{number}{chain.init.suffix}")
        began_with = chain.init.name if chain.init else ""
        made.append(TrainingChain(chain.label, style, chain.config.to_json(), chain.out, init, began_with))
    return {**record, "chains": tuple(made)}


def _copy_tree(share: SharedDir, layout: JobPaths, directory: Path, files: list[Path], place: Path) -> None:
    """Copy files with their names below a directory, which photographs are known by."""
    targets = {file: place / file.relative_to(directory) for file in files}
    record_inputs(share, layout, [*targets.values()])
    share.system.make_dirs(place, below=layout.root)
    for file, target in targets.items():
        share.system.make_dirs(target.parent, below=layout.root)
        with exclusive(target) as draft:
            shutil.copyfile(file, draft)
        share.system.sync(target)


def _provenance(request: TrainingRequest) -> dict[str, str]:
    entries = {
        "style": ", ".join(str(painting.absolute()) for painting in request.paintings),
        "command": request.command,
        **made_here(),
    }
    return {name: sanitize(text, 4000) for name, text in entries.items() if text}


def style_names(paintings: Sequence[Path], out: str | None) -> tuple[str, ...]:
    """The names of the new styles in the shared directory. Raises FavError if OUT does not fit."""
    if out is None:
        return tuple(f"{painting.stem}{FILES[0]}" for painting in paintings)
    if len(paintings) > 1:
        raise FavError(
            f"OUT: expected one painting with a name for its style, got {len(paintings)} paintings and {out}"
        )
    if not out.endswith(FILES[0]):
        raise FavError(f"{out}: expected a name that ends in {FILES[0]}, got {Path(out).suffix or 'no suffix'}")
    return (out,)
