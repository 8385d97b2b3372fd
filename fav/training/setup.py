"""Prepare a training: open and check all inputs, and build the networks, before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from fav.errors import FavError
from fav.model.architecture import WIDE_VIEW
from fav.model.bundled_styles import named_styles
from fav.model.checkpoints import load_style, style_facts
from fav.model.devices import best_precision, device_of, placed
from fav.model.network import StyleNetwork
from fav.perceptual.loss import PerceptualLoss, as_tensor
from fav.perceptual.loss_network import LossNetwork
from fav.perceptual.painting import Painting, read_painting
from fav.perceptual.pretrained import load_loss_network
from fav.training.checkpoint import check_same, load_state, restore
from fav.training.config import StopCriteria, TrainingConfig, TrainingInputs, parse_layers, parse_scales
from fav.training.contact_sheet import Samples, samples_of
from fav.training.dataloader import Batches
from fav.training.distill import MatchLoss, load_image_teacher, load_style_teacher
from fav.training.image_folder import MIN_IMAGES, ImageFolder, built_in_photos, open_image_folder, video_stills
from fav.training.loop import TrainingLoop
from fav.training.loss_curves import logged_losses, table_mark
from fav.training.nearest import Candidate, ranked
from fav.training.net2wider import net2wider
from fav.training.outputs import OutputPaths
from fav.training.trainer import Trainer, autocast
from fav.training.video_clips import Clip, open_clips
from fav.util.fingerprint import fingerprint
from shared.command_names import command

NO_NETWORK = "none"  # as the loss network: only pixels are compared
REFERENCES = MIN_IMAGES // 2  # photographs by which the losses are normalized


@dataclass(frozen=True)
class PreparedTraining:
    """A trainer with all that it reads.

    Attributes:
        trainer: The trainer, without the state that there may be.
        batches: The training samples.
        samples: The inputs of the contact sheet.
        folder: The photographs.
        style_notes: Notes on the painting and on the style that it begins with.
        init: The style that it begins with; None: random weights.
    """

    trainer: Trainer
    batches: Batches
    samples: Samples
    folder: ImageFolder
    style_notes: tuple[str, ...]
    init: Path | None


def prepare(
    names: OutputPaths, inputs: TrainingInputs, config: TrainingConfig, limits: StopCriteria, command: str
) -> tuple[TrainingLoop, Batches, list[str]]:
    """Prepare a training, or the continuation of an interrupted one.

    Args:
        names: paths of the style and of the files beside it.
        inputs: files to read, and the device.
        config: the options that decide the weights.
        limits: when to stop.
        command: the command line; the style records it.

    Returns:
        The training loop, its batches, and notes for the user.

    Raises:
        FavError: an input is missing or not readable, or the saved state is of another training.
    """
    device = device_for(inputs)
    state = load_state(names.state) if names.state.exists() else None
    prepared = prepare_trainer(inputs, config, device, state, names.state)
    trainer, notes = prepared.trainer, prepared.folder.notes
    if state:
        restore(names.state, trainer, state)
        names.check_own(trainer.config.mark, table_mark(trainer.history))

    def provenance(losses: dict[str, float]) -> dict[str, str]:
        return style_metadata(trainer, command, losses)

    if not trainer.iteration:
        notes = [*notes, _start_message(trainer, prepared.folder, limits)]
    loop = TrainingLoop(trainer, names, limits, prepared.samples, provenance)
    return loop, prepared.batches, [*prepared.style_notes, *notes]


def prepare_trainer(
    inputs: TrainingInputs,
    config: TrainingConfig,
    device: torch.device,
    state: dict | None = None,
    state_path: Path = Path("state"),
) -> PreparedTraining:
    """Read all inputs of a training, and make its trainer. The config of the trainer is complete.

    Args:
        inputs: What is read.
        config: The options as they were typed.
        device: Of the networks.
        state: The state that the training continues from; it is compared, not loaded. None: there is none.
        state_path: Where that state is, for messages.

    Raises:
        FavError: An input is missing, not readable, or not as in the state.
    """
    painting, teacher, style_notes = None, None, []
    if config.steady:
        teacher = load_image_teacher(inputs.style_image, device, config.crop)
    elif config.copied:
        teacher = load_style_teacher(inputs.style_image, device)
    else:
        painting = read_painting(
            inputs.style_image, config.style_size, config.style_crop, config.style_clean, suggest=True
        )
        style_notes += [painting.part, painting.note]
    start = _init_network(inputs.init, config) if inputs.init else None
    typed_arch = config.arch
    network, kind, network_print = None, "", ""
    if inputs.loss_network != NO_NETWORK:
        network, kind, network_print = load_loss_network(
            inputs.loss_network, "replicate", config.pooling, _extra_layers(config)
        )
    folder, clips, clips_print, notes = _open_material(inputs, config)
    init_print = fingerprint(inputs.init) if inputs.init else None
    if inputs.nearest and state:  # chosen when the training began; other styles may be listed now
        init_print = state["recipe"].get("init_print")
    config = replace(
        config,
        style_print=fingerprint(inputs.style_image),
        photos_print=folder.fingerprint,
        clips_print=clips_print,
        loss_network=kind,
        loss_network_print=network_print,
        init_print=init_print,
        arch=start.arch if start else _architecture(config, state),
        precision=_precision(config, state, device),
    )
    if state:
        check_same(state_path, config, state)
    losses = _make_losses(config, placed(network, device) if network else None, painting, folder, device)
    samples = samples_of(
        folder.held_out, config.crop, _sheet_images(painting), painting.suggested_parts if painting else ()
    )
    began_with = inputs.init
    if inputs.nearest and not state and isinstance(losses, PerceptualLoss):
        chosen, note = _nearest(losses, samples.photos, replace(config, arch=typed_arch), device)
        style_notes.append(note)
        if chosen:
            start, began_with = chosen.network, chosen.path
            config = replace(config, arch=start.arch, init_print=fingerprint(began_with))
    trainer = Trainer(config, losses, device, start, teacher)
    trainer.began_with = began_with.name if began_with else ""
    if config.copied:
        trainer.painting = style_facts(inputs.style_image).metadata.get("style", config.style)
    folder = replace(folder, notes=notes)
    return PreparedTraining(
        trainer, Batches(config, folder.photos, clips), samples, folder, tuple(style_notes), began_with
    )


def _make_losses(
    config: TrainingConfig,
    network: LossNetwork | None,
    painting: Painting | None,
    folder: ImageFolder,
    device: torch.device,
) -> PerceptualLoss | MatchLoss:
    """The losses against a painting, or against the pictures of an image model."""
    style_layers = parse_layers("--style-layers", config.style_layers)
    content_layers = parse_layers("--content-layers", config.content_layers)
    if painting is None or network is None:
        return MatchLoss(network, style_layers, content_layers)
    with autocast(config.precision, device):
        return PerceptualLoss(
            network,
            as_tensor(painting.picture).to(device),
            [as_tensor(photo.read(config.crop)).to(device) for photo in folder.photos[:REFERENCES]],
            parse_scales(config.style_scales),
            style_layers,
            content_layers,
        )


def _sheet_images(painting: Painting | None) -> list[tuple[str, np.ndarray]]:
    """Images of the painting for the contact sheet, with captions: the whole, and the part to learn from."""
    if painting is None:
        return []
    if not painting.crop and not painting.grain:
        return [("painting: all of it", painting.picture)]
    part = f"part {painting.crop}" if painting.crop else "all of it"
    return [
        ("painting", painting.whole),
        (f"learned: {part}" + (", no grain" if painting.grain else ""), painting.picture),
    ]


def _nearest(
    losses: PerceptualLoss, photos: Sequence[np.ndarray], config: TrainingConfig, device: torch.device
) -> tuple[Candidate | None, str]:
    """Choose the style to begin with. Returns it (None: random weights), and a note on the choice."""
    with autocast(config.precision, device):
        found = ranked(named_styles(), losses, photos, device, config.arch, config.seed)
    if not found:
        why = f" of the architecture {config.arch}" if config.arch else ""
        return None, f"begins with random weights: no style{why} is at hand (--init STYLE: begin with that one)"
    best, *others = found
    than = f"; next {others[0].name}, {others[0].style:.2f} and {others[0].palette:.2f}" if others else ""
    return best, (
        f"begins with the style {best.name}, which paints most like it (strokes {best.style:.2f}, colors {best.palette:.2f} "
        f"off; a photograph 1{than}); --init STYLE: with another one; --init none: with random weights"
    )


def _start_message(trainer: Trainer, folder: ImageFolder, limits: StopCriteria) -> str:
    """A message on what will be learned, from what, on which device and for how long."""
    config = trainer.config
    until = f"{limits.iterations} iterations" if limits.iterations else ""
    if limits.minutes:
        until += f"{', at most ' if until else ''}{limits.minutes:g} min"
    what = f"{len(folder.photos)} {folder.words}"
    return f"learning {config.style} from {what} on {trainer.device} in {config.precision}, {until}"


def _extra_layers(config: TrainingConfig) -> tuple[str, ...]:
    """The layers of the loss network that the options name."""
    texts = {"--style-layers": config.style_layers, "--content-layers": config.content_layers}
    return tuple(layer for option, text in texts.items() for layer in parse_layers(option, text) or ())


def _init_network(init: Path, config: TrainingConfig) -> StyleNetwork:
    """The network of --init, widened to --arch."""
    network = load_style(init, in_channels=7)
    try:
        return net2wider(network, config.arch or network.arch, config.seed)
    except FavError as error:
        raise FavError(
            f"--init {init} with --arch {config.arch}: {error}; leave --arch out to keep that width, "
            f"or first copy the style to that architecture with {command('train')} --copy"
        ) from None


def device_for(inputs: TrainingInputs) -> torch.device:
    """Choose the device, and set threads and determinism of this process, as StyleRunner does for films."""
    if inputs.threads:
        torch.set_num_threads(inputs.threads)
    device = device_of(inputs.device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    return device


def _architecture(config: TrainingConfig, state: dict | None) -> str:
    """The architecture: the typed one; otherwise that of the saved state, or the default."""
    return config.arch or (str(state["recipe"].get("arch")) if state else WIDE_VIEW)


def _precision(config: TrainingConfig, state: dict | None, device: torch.device) -> str:
    """The precision: the typed one; otherwise that of the saved state, or the best of the device."""
    if config.precision != "auto":
        return config.precision
    return str(state["recipe"].get("precision")) if state else best_precision(device)


def _open_material(
    inputs: TrainingInputs, config: TrainingConfig
) -> tuple[ImageFolder, list[Clip], str | None, list[str]]:
    """Open photographs and clips. Returns both, the fingerprint of the clips, and notes on files left out."""
    with Progress(transient=True, disable=not Console().is_terminal) as progress:
        bar = progress.add_task("looking at the photographs", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        if inputs.photos:
            folder = open_image_folder(inputs.photos, config.crop, on_progress)
        else:
            folder = video_stills(inputs.video, config.crop, on_progress) if inputs.video else built_in_photos()
        if not inputs.clips:
            return folder, [], None, folder.notes
        bar = progress.add_task("looking at the clips", total=None)
        clips, clips_print, notes = open_clips(inputs.clips, config.most_steps, lambda: progress.advance(bar))
        return folder, clips, clips_print, folder.notes + notes


def style_metadata(trainer: Trainer, command: str, losses: dict[str, float]) -> dict[str, str]:
    """The metadata of a style file on its training: file names, but no paths."""
    config = trainer.config
    return {
        "style": trainer.painting,
        **({"steadied": "an image model, whose own pictures were the target"} if config.steady else {}),
        **({"copied": f"{config.style}, whose own pictures were the target"} if config.copied else {}),
        "command": command,
        **({"began_with": trainer.began_with} if trainer.began_with else {}),
        "iterations": str(trainer.iteration),
        "minutes": f"{trainer.seconds / 60:.1f}",
        "losses": ", ".join(f"{name} {losses[name]:.4g}" for name in logged_losses(config)),
        "loss_network": config.loss_network,
        "precision": config.precision,
        "input": "BGR 0..255 minus (103.939,116.779,123.68), 7 channels: frame, warped previous result times reliability, "
        "reliability",
        "versions": f"torch {torch.__version__}, numpy {version('numpy')}, opencv {cv2.__version__}",
    }
