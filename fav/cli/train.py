"""`fav train`: check all arguments before any work starts, then run the training loop."""

import logging
import os
import shlex
import sys
from pathlib import Path

import click
from click.core import ParameterSource

from fav.cli.common import one_line_errors
from fav.cli.executors import Launch
from fav.cli.log_options import LOG, log_settings, start_record
from fav.cli.options import FILE, limits, options
from fav.cli.outputs import check_place
from fav.cli.train_job import (
    JOB_OPTIONS,
    LOCAL_OPTIONS,
    SHARED_OPTIONS,
    TypedTraining,
    refuse_options,
    shared_of,
    sort_for_share,
    train_in_share,
)
from fav.errors import FavError
from fav.model.architecture import PRESETS
from fav.model.bundled_styles import style_file
from fav.monitor.console import begin_log, tell
from fav.pipeline.spec import LOSS_NETWORK
from fav.training.config import (
    COPY,
    COPY_ITERATIONS,
    DEFAULT_MIX,
    DEFAULT_STEPS,
    FITTED_DECAY,
    FITTED_ITERATIONS,
    FITTED_MINUTES,
    FITTED_STEADINESS,
    FITTED_STEPS,
    PAINTING_ALONE,
    PIXEL_LOSSES,
    STEADY,
    STEADY_STEPS,
    STILLS,
    VIDEO_SHARE,
    StopCriteria,
    TrainingConfig,
    TrainingInputs,
)
from fav.training.outputs import OutputPaths
from fav.util.text import duration
from shared.option_types import ChoiceType, NumberType, WholeType

logger = logging.getLogger(__name__)

WEIGHT = NumberType(0)
ITERATIONS = 3000
NEAREST, NO_STYLE = "nearest", "none"  # values of --init that are no style
PAINTING_OPTIONS = ("style_size", "style_crop", "style_clean", "style_scales")  # have no meaning with a model


@click.command()
@click.argument("inputs", type=FILE, nargs=-1, metavar="[SHARED] [STYLE_IMAGE] [PHOTOS_DIR] [OUT]")
@click.option(
    "--steady",
    type=FILE,
    metavar="MODEL",
    help="Make a steady style from this image model (any file that --first-frame-style takes), instead of from a "
    "painting. Leave STYLE_IMAGE out.",
)
@click.option(
    "--copy",
    "copied",
    type=FILE,
    metavar="STYLE",
    help="Copy this style, a file or a name, to another architecture (--arch), instead of learning a painting. The default "
    "architecture takes less than half of the time of half width. Leave STYLE_IMAGE out.",
)
@click.option(
    "--video",
    type=FILE,
    metavar="VIDEO",
    help=f"Learn from {STILLS} frames spread over this video, instead of from PHOTOS_DIR.",
)
@click.option(
    "--iterations",
    type=WholeType(1),
    metavar="N",
    help=f"Stop after N iterations.  [default: {ITERATIONS}; with --copy {COPY_ITERATIONS}; without PHOTOS_DIR, --minutes decides]",
)
@click.option(
    "--minutes",
    type=NumberType(0, min_open=True),
    metavar="N",
    help="Stop after N minutes, summed over all runs of this training.  "
    f"[default: {FITTED_MINUTES:g} without PHOTOS_DIR and --iterations]",
)
@click.option(
    "--loss-network",
    default=LOSS_NETWORK,
    show_default=True,
    metavar="NAME|FILE",
    help="squeezenet1_1, squeezenet1_0 or vgg16, downloaded on first use; or a file of such a network. With --steady or --copy also none: "
    "only pixels are compared.",
)
@click.option(
    "--arch",
    default="",
    metavar="NAME|STRING",
    help=f"Architecture of the style network: {', '.join(PRESETS)}, or a string of layers.  [default: {next(iter(PRESETS))}]",
)
@click.option(
    "--init",
    type=FILE,
    metavar="STYLE|nearest|none",
    help="Begin with the weights of this style, a file or a name; with --arch, widened to an equivalent larger network. "
    "nearest: with the installed style that is most similar to the painting; none: with random weights.  "
    "[default: none; without PHOTOS_DIR nearest]",
)
@click.option("--clips", type=FILE, metavar="DIR", help="A directory of video clips to learn from as well.")
@click.option(
    "--data-mix",
    "mix",
    metavar="KIND:SHARE,…",
    help=f"Proportions of the kinds of training samples: single_image, shift, zoom_out, affine, elastic, video.  [default: {DEFAULT_MIX}, with --clips also {VIDEO_SHARE[1:]}]",
)
@click.option(
    "--num-frame-steps",
    "steps",
    metavar="ITERATION:STEPS,…",
    help="Number of consecutive frames to unroll, from an iteration on, or from a percentage of the training on, like 50%:4.  "
    f"[default: {DEFAULT_STEPS}; without PHOTOS_DIR, or with --copy {FITTED_STEPS}; with --steady {STEADY_STEPS}]",
)
@click.option(
    "--through/--detached",
    default=True,
    show_default=True,
    help="Whether gradients pass through all steps, or stop at each frame.",
)
@click.option(
    "--crop",
    type=WholeType(32, 1024),
    default=224,
    show_default=True,
    help="Side of the training images, in pixels.",
)
@click.option("--batch", type=WholeType(1, 256), default=2, show_default=True, help="Samples per iteration.")
@click.option(
    "--style-size",
    type=WholeType(64, 4096),
    default=1024,
    show_default=True,
    help="Longer side of the painting in pixels; it is never enlarged. A larger value gives larger strokes.",
)
@click.option(
    "--style-crop",
    metavar="X,Y,W,H",
    default="",
    help="Learn from this part of the painting, in pixels of the file.  [default: all of it]",
)
@click.option(
    "--clean-style/--no-clean-style",
    "style_clean",
    default=True,
    show_default=True,
    help="Whether the grain of a sharpened image is removed before the training.",
)
@click.option(
    "--style-scales",
    metavar="N,N,…",
    default="1,2,4",
    show_default=True,
    help="Factors by which images are reduced for the losses: 1 for strokes, 2 and 4 for larger forms.",
)
@click.option(
    "--zoom",
    type=NumberType(1, 2),
    default=1.25,
    show_default=True,
    help="Largest random enlargement or reduction of images before the loss network; 1: none.",
)
@click.option(
    "--pooling",
    type=ChoiceType(["max", "average"]),
    default="max",
    show_default=True,
    help="Pooling of the loss network. average: for paintings of flat areas.",
)
@click.option("--content-weight", type=WEIGHT, default=1, show_default=True, help="Weight of the content loss.")
@click.option("--style-weight", type=WEIGHT, default=10, show_default=True, help="Weight of the style loss.")
@click.option(
    "--temporal-weight",
    type=WEIGHT,
    default=800,
    help="Weight of the temporal loss (steadiness).  "
    f"[default: 800; with --steady {STEADY['temporal_weight']:g}; with --copy 0]",
)
@click.option(
    "--forgetting-weight",
    type=WEIGHT,
    default=300,
    help="Weight of the difference between a frame stylized without history and the same frame in a film; takes a fifth more time.  "
    f"[default: 300; with --steady {STEADY['forgetting_weight']:g}; with --copy 0]",
)
@click.option(
    "--palette-weight",
    type=WEIGHT,
    default=10,
    show_default=True,
    help="Weight of the colors of the painting; colors that are far off count for more.",
)
@click.option(
    "--lattice-weight",
    type=WEIGHT,
    default=300,
    show_default=True,
    help="Weight of patterns that repeat with the strides of the network.",
)
@click.option(
    "--pixel-weight",
    type=WEIGHT,
    default=0,
    show_default=True,
    help="Weight of the difference of pixels from the photograph. With --steady or --copy, from the model's image; then the default is 100.",
)
@click.option(
    "--pixel-loss",
    type=ChoiceType(PIXEL_LOSSES),
    default=PIXEL_LOSSES[0],
    show_default=True,
    help="How the difference of pixels is measured.",
)
@click.option(
    "--style-layers",
    metavar="LAYER:WEIGHT,…",
    default="",
    help="Layers of the loss network for the style, with weights, like conv1:1,fire5:2.  [default: its own, all alike]",
)
@click.option(
    "--content-layers",
    metavar="LAYER:WEIGHT,…",
    default="",
    help="Layers of the loss network for the content, with weights.  [default: its own, all alike]",
)
@click.option("--tv-weight", type=WEIGHT, default=5, show_default=True, help="Weight of total variation (smoothness).")
@click.option(
    "--range-weight",
    type=WEIGHT,
    default=20,
    show_default=True,
    help="Weight of values outside 0 to 255 and of burnt-out spots.",
)
@click.option(
    "--holes",
    type=NumberType(0, 1),
    default=0.5,
    show_default=True,
    help="Fraction of steps with random holes in the reliability.",
)
@click.option(
    "--learning-rate",
    type=NumberType(0, 1, min_open=True),
    default=1e-3,
    show_default=True,
    help="Learning rate of Adam.",
)
@click.option(
    "--lr-decay-every",
    "decay_every",
    type=WholeType(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Multiply the learning rate by --lr-decay-factor every N iterations; 0: never.",
)
@click.option(
    "--lr-decay-factor",
    "decay_factor",
    type=NumberType(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="The factor of --lr-decay-every.",
)
@click.option(
    "--lr-end-factor",
    "end_factor",
    type=NumberType(0, 1, min_open=True),
    help="The factor of the learning rate at the end of the training; it falls along a cosine.  "
    f"[default: 1; without PHOTOS_DIR, with --steady or --copy {FITTED_DECAY:g}]",
)
@click.option(
    "--steadiness-end-factor",
    type=NumberType(0, 1000),
    help="The factor of the temporal and forgetting weights at the end of the training; it rises along a cosine. Strokes "
    f"are learned first, then steadiness.  [default: 1; without PHOTOS_DIR {FITTED_STEADINESS:g}]",
)
@click.option(
    "--single-image-until",
    type=WholeType(0),
    default=0,
    show_default=True,
    help="Learn only from single images up to this iteration; overrides --data-mix.",
)
@click.option(
    "--precision",
    type=ChoiceType(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Precision of the convolutions. auto: bfloat16 on processors and GPUs that support it.",
)
@click.option(
    "--rng-seed",
    "seed",
    type=WholeType(0, 2**31),
    default=0,
    show_default=True,
    help="Seed of the random numbers.",
)
@click.option(
    "--device",
    default=None,
    help="What the networks run on: cpu, or cuda:0 and so on.  [default: a GPU, if there is one]",
)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@click.option(
    "--workers",
    type=WholeType(0, 64),
    help="Processes that make samples; 0: only this one.  [default: 1; up to 8 with a GPU]",
)
@click.option(
    "--save-every", type=NumberType(0), default=5, show_default=True, help="Minutes between two saved states."
)
@click.option(
    "--sheet-every",
    type=NumberType(0),
    default=15,
    show_default=True,
    help="Minutes between two contact sheets. The first one comes after a minute.",
)
@options(JOB_OPTIONS)
@options(LOG)
@click.pass_context
@one_line_errors
def train(
    context: click.Context,
    inputs: tuple[Path, ...],
    steady: Path | None,
    copied: Path | None,
    video: Path | None,
    loss_network: str,
    clips: Path | None,
    init: Path | None,
    device: str | None,
    threads: int | None,
    workers: int | None,
    iterations: int | None,
    minutes: float | None,
    save_every: float,
    sheet_every: float,
    seeds: int,
    task_iterations: int | None,
    name: str | None,
    bit_exact: bool,
    **values,
) -> None:
    """Learn a style from a painting and photos.

    STYLE_IMAGE is the painting, PHOTOS_DIR a folder of photographs, OUT the new style (.safetensors). The painting alone is
    enough. Without PHOTOS_DIR, the command learns from built-in images or from --video. It then begins with the style that is
    most similar to the painting, and takes 30 minutes. Without OUT, the style gets the painting's name, in the current
    directory.

    After an interruption, the same line continues. The command also writes a contact sheet, the losses as a plot and a table,
    and OUT.training, the state to continue from. With --steady MODEL, the style is learned from an image model; with --copy
    STYLE, from a style of another architecture. Then leave STYLE_IMAGE out.

    With SHARED, a shared directory, the training is a job. Its nodes continue it one after the other. Several paintings, or
    several --seeds, are learned at the same time. Nodes start here (--nodes), by ssh (--hosts) or by Slurm (--slurm), and
    anywhere with `fav node SHARED`.
    """
    shared, launch = shared_of(inputs), Launch.take(values)
    if steady and copied:
        raise FavError(f"expected --steady or --copy, got both ({steady}, {copied})")
    copied = style_file(copied) if copied else None
    model, model_flag = steady or copied, "--steady" if steady else "--copy"
    if shared:
        launch.check(context)
        paintings, photos_dir, out = sort_for_share(shared, inputs[1:], model)
        style_image = paintings[0]
        refuse_options(context, LOCAL_OPTIONS, "expected without SHARED")
    else:
        refuse_options(context, SHARED_OPTIONS, "expected with SHARED, a shared directory, as the first word")
        style_image, photos_dir, out = _parse_arguments(context, inputs, model, video)
        paintings = (style_image,)
    # PyTorch reads this when it is imported. By default, waiting threads spin and take the cores from the processes
    # that make samples. On two busy cores, an iteration took 11 to 18 s; with this, it takes 2 to 3 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    values["arch"] = PRESETS.get(values["arch"], values["arch"])
    outputs = OutputPaths(check_place(out)) if out and not shared else None
    if outputs:
        outputs.check()
    values["mix"] = values["mix"] or DEFAULT_MIX + (VIDEO_SHARE if clips else "")
    painting_alone = photos_dir is None and not model  # neither photographs nor a model are given
    usual = (
        PAINTING_ALONE
        if painting_alone
        else {
            "steps": STEADY_STEPS if steady else FITTED_STEPS if copied else DEFAULT_STEPS,
            "end_factor": FITTED_DECAY if model else 1.0,
            "steadiness_end_factor": 1.0,
        }
    )
    values |= {name: value for name, value in usual.items() if values[name] in (None, "")}
    if iterations is None and not painting_alone:
        iterations = COPY_ITERATIONS if copied else ITERATIONS
    if iterations is None and minutes is None:
        iterations, minutes = (FITTED_ITERATIONS, None) if shared else (None, FITTED_MINUTES)
    nearest = str(init) == NEAREST or init is None and painting_alone
    if nearest and model:
        raise FavError(f"--init {NEAREST}: expected with a painting; with {model_flag} there is none")
    init = style_file(init) if init and str(init) not in (NEAREST, NO_STYLE) else None
    notes_before: list[str] = []
    if model:
        if not os.path.exists(model):  # before a loss network is downloaded
            what = "the name of a style or a file" if copied else "a file"
            raise FavError(f"{model_flag}: expected {what}, got {model}, which does not exist")
        if painted := [name for name in PAINTING_OPTIONS if _typed(context, name)]:
            flag = next(one.opts[0] for one in context.command.params if one.name == painted[0])
            raise FavError(f"{flag}: expected with a painting; with {model_flag} there is none")
        values |= {name: value for name, value in (STEADY if steady else COPY).items() if not _typed(context, name)}
        loss_network, notes_before = _network_for_model(loss_network, _typed(context, "loss_network"))
    elif loss_network == "none":
        raise FavError(
            "--loss-network none: expected with --steady or --copy alone; a painting is seen through a network"
        )
    config = TrainingConfig(style=style_image.name, steady=steady is not None, copied=copied is not None, **values)
    config.check(clips is not None)
    sources = TrainingInputs(style_image, photos_dir, loss_network, clips, init, nearest, video, device, threads)
    if shared:
        begin_log(log_settings(context), start_record())
        for note in notes_before:
            logger.info("%s", note)
        typed = TypedTraining(
            sources, paintings, config, iterations or ITERATIONS, out and str(out), seeds, task_iterations
        )
        train_in_share(context, shared, typed, name, bit_exact, launch, _typed_command(context, shared=True))
        return
    if outputs is None:
        raise ValueError("expected the name of a style")
    limits = StopCriteria(iterations, minutes, save_every, sheet_every)
    begin_log(log_settings(context), start_record())
    _train_here(outputs, sources, config, limits, _typed_command(context), workers, notes_before)


def _train_here(
    outputs: OutputPaths,
    sources: TrainingInputs,
    config: TrainingConfig,
    limits: StopCriteria,
    command: str,
    workers: int | None,
    notes_before: list[str],
) -> None:
    """Train on this machine. Exits with 128 plus the number of a signal that stopped it."""
    from fav.training.dataloader import can_have_workers
    from fav.training.setup import prepare

    loop, batches, notes = prepare(outputs, sources, config, limits, command)
    for note in (*notes_before, *notes):
        logger.info("%s", note)
    trainer = loop.trainer
    if trainer.iteration:
        logger.info("continuing after iteration %d", trainer.iteration)
    workers = workers if workers is not None else 1 if trainer.device.type == "cpu" else 8
    if workers and not can_have_workers():
        logger.warning(
            "/dev/shm: it cannot be written to, or is full, so all samples are made by this process: slower, and the same style"
        )
        workers = 0
    outcome = loop.run(batches, workers)
    state = outcome.verdict if trainer.iteration else "not begun"
    if outcome.signal:
        tell(f"stopped after iteration {trainer.iteration}; the same line continues; the style is {state}")
        sys.exit(128 + outcome.signal)
    tell(f"done: {outputs.out}, {trainer.iteration} iterations in {duration(trainer.seconds)}; the style is {state}")
    if (limits.iterations is None or trainer.iteration < limits.iterations) and state != "ready":
        tell("to learn on, type the same line with a larger --minutes")


def _parse_arguments(
    context: click.Context, inputs: tuple[Path, ...], model: Path | None, video: Path | None
) -> tuple[Path, Path | None, Path]:
    """Assign the arguments. Returns the painting or model, the folder of photographs (or None), and the new style."""
    expected = "PHOTOS_DIR OUT" if model else "STYLE_IMAGE PHOTOS_DIR OUT"
    most, without = expected.count(" ") + 1, "with --steady and --copy no painting is needed"
    if len(inputs) > most:
        raise FavError(f"expected {expected}, got {len(inputs)} arguments{f'; {without}' if model else ''}")
    if not inputs:
        raise click.UsageError(f"Missing argument '{expected.split()[0]}'.", context)
    style_image, *rest = (model, *inputs) if model else inputs
    *folders, out = rest if rest else [Path(f"{style_image.stem}.safetensors")]
    photos_dir = folders[0] if folders else None
    if style_image.is_dir() or photos_dir and photos_dir.is_file():
        got = f"a directory: {style_image}" if style_image.is_dir() else f"a file: {photos_dir}"
        raise FavError(f"expected {expected} in this order, got {got}")
    if photos_dir is None and out.is_dir():
        raise click.UsageError("Missing argument 'OUT'.", context)
    if photos_dir and video:
        raise FavError(f"--video: expected without PHOTOS_DIR, whose place it takes, got {photos_dir}, too")
    return style_image, photos_dir, out


def _typed(context: click.Context, name: str) -> bool:
    """Whether an option was typed."""
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE


def _network_for_model(name: str, typed: bool) -> tuple[str, list[str]]:
    """The loss network of --steady and --copy, and notes. It is `none` if the default network is not available."""
    from fav.perceptual.pretrained import PUBLISHED, cached_network

    if typed or name not in PUBLISHED:
        return name, []
    try:
        cached_network(name)
        return name, []
    except FavError as error:
        return "none", [f"only pixels are compared: {error}"]


def _typed_command(context: click.Context, shared: bool = False) -> str:
    """The command as it was typed, with the names of files in the place of their paths: it goes into the style.

    `shared`: without SHARED, and without options that do not affect the style.
    """
    words = ["fav", "train"]
    for parameter in context.command.params:
        name = parameter.name
        if (
            not parameter.expose_value
            or name not in context.params
            or context.get_parameter_source(name) != ParameterSource.COMMANDLINE
        ):
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            words += [Path(one).name for one in value[shared:]]
            continue
        if shared and name in ("nodes", "name", "task_iterations", "bit_exact"):
            continue
        shown = Path(value).name if parameter.type is FILE or parameter.name == "loss_network" else str(value)
        if parameter.name == "through":
            words.append("--through" if value else "--detached")
        elif parameter.name == "style_clean":
            words.append("--clean-style" if value else "--no-clean-style")
        else:
            words += [parameter.opts[0], shown]
    return shlex.join(words)
