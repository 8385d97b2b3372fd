"""From what was typed to a loop that is ready: everything is looked at here, before any work starts."""

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
from fav.model.checkpoints import load_style
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
from fav.training.image_folder import MIN_IMAGES, ImageFolder, built_in_photos, open_image_folder, video_stills
from fav.training.loop import TrainingLoop
from fav.training.loss_curves import logged_losses, table_mark
from fav.training.nearest import Candidate, ranked
from fav.training.net2wider import net2wider
from fav.training.outputs import OutputPaths
from fav.training.steady import MatchLoss, load_teacher
from fav.training.trainer import Trainer, autocast
from fav.training.video_clips import Clip, open_clips
from fav.util.fingerprint import fingerprint

NO_NETWORK = "none"  # of a training on pixels alone
REFERENCES = MIN_IMAGES // 2  # photographs that give the losses their units


@dataclass(frozen=True)
class PreparedTraining:
    """A trainer with all that it reads.

    Attributes:
        trainer: The trainer, without the state that there may be.
        batches: The training samples.
        samples: The inputs of the contact sheet.
        album: The photographs.
        told: Notes on the painting and on the style that it begins with.
        init: The style that it begins with; None: random weights.
    """

    trainer: Trainer
    batches: Batches
    samples: Samples
    album: ImageFolder
    told: tuple[str, ...]
    init: Path | None


def prepare(
    names: OutputPaths, inputs: TrainingInputs, recipe: TrainingConfig, limits: StopCriteria, command: str
) -> tuple[TrainingLoop, Batches, list[str]]:
    """A loop that is ready to run, its batches, and notes for the user; `command` goes into the style.

    Raises FavError for anything that is missing, not readable, or not as in the state that there is.
    """
    device = device_for(inputs)
    state = load_state(names.state) if names.state.exists() else None
    prepared = prepare_trainer(inputs, recipe, device, state, names.state)
    trainer, notes = prepared.trainer, prepared.album.notes
    if state:
        restore(names.state, trainer, state)
        names.check_own(trainer.recipe.mark, table_mark(trainer.history))

    def provenance(losses: dict[str, float]) -> dict[str, str]:
        return style_metadata(trainer, command, losses)

    if not trainer.iteration:
        notes = [*notes, _beginning(trainer, prepared.album, limits)]
    loop = TrainingLoop(trainer, names, limits, prepared.samples, provenance)
    return loop, prepared.batches, [*prepared.told, *notes]


def prepare_trainer(
    inputs: TrainingInputs,
    recipe: TrainingConfig,
    device: torch.device,
    state: dict | None = None,
    state_path: Path = Path("state"),
) -> PreparedTraining:
    """Read all inputs of a training, and make its trainer. The recipe of the trainer is complete.

    Args:
        inputs: What is read.
        recipe: The options as they were typed.
        device: Of the networks.
        state: The state that the training continues from; it is compared, not loaded. None: there is none.
        state_path: Where that state is, for messages.

    Raises:
        FavError: An input is missing, not readable, or not as in the state.
    """
    painting, teacher, told = None, None, []
    if recipe.steady:
        teacher = load_teacher(inputs.style_image, device, recipe.crop)
    else:
        painting = read_painting(inputs.style_image, recipe.style_size, recipe.style_crop, recipe.style_clean)
        told += [painting.part, painting.note]
    start = _init_network(inputs.init, recipe) if inputs.init else None
    typed_arch = recipe.arch
    network, kind, network_print = None, "", ""
    if inputs.loss_network != NO_NETWORK:
        network, kind, network_print = load_loss_network(
            inputs.loss_network, "replicate", recipe.pooling, _extra_layers(recipe)
        )
    album, clips, clips_print, notes = _material(inputs, recipe)
    init_print = fingerprint(inputs.init) if inputs.init else None
    if inputs.nearest and state:  # chosen when it began: the styles at hand may be others by now
        init_print = state["recipe"].get("init_print")
    recipe = replace(
        recipe,
        style_print=fingerprint(inputs.style_image),
        photos_print=album.fingerprint,
        clips_print=clips_print,
        loss_network=kind,
        loss_network_print=network_print,
        init_print=init_print,
        arch=start.arch if start else _architecture(recipe, state),
        precision=_precision(recipe, state, device),
    )
    if state:
        check_same(state_path, recipe, state)
    perception = _perception(recipe, placed(network, device) if network else None, painting, album, device)
    samples = samples_of(album.held_out, recipe.crop, _paintings(painting))
    began_with = inputs.init
    if inputs.nearest and not state and isinstance(perception, PerceptualLoss):
        chosen, note = _nearest(perception, samples.photos, replace(recipe, arch=typed_arch), device)
        told.append(note)
        if chosen:
            start, began_with = chosen.network, chosen.path
            recipe = replace(recipe, arch=start.arch, init_print=fingerprint(began_with))
    trainer = Trainer(recipe, perception, device, start, teacher)
    trainer.began_with = began_with.name if began_with else ""
    album = replace(album, notes=notes)
    return PreparedTraining(trainer, Batches(recipe, album.photos, clips), samples, album, tuple(told), began_with)


def _perception(
    recipe: TrainingConfig,
    network: LossNetwork | None,
    painting: Painting | None,
    album: ImageFolder,
    device: torch.device,
) -> PerceptualLoss | MatchLoss:
    """The losses by a loss network: against a painting, or a model's pictures."""
    style_layers = parse_layers("--style-layers", recipe.style_layers)
    content_layers = parse_layers("--content-layers", recipe.content_layers)
    if painting is None or network is None:
        return MatchLoss(network, style_layers, content_layers)
    with autocast(recipe.precision, device):
        return PerceptualLoss(
            network,
            as_tensor(painting.picture).to(device),
            [as_tensor(photo.read(recipe.crop)).to(device) for photo in album.photos[:REFERENCES]],
            parse_scales(recipe.style_scales),
            style_layers,
            content_layers,
        )


def _paintings(painting: Painting | None) -> list[tuple[str, np.ndarray]]:
    """What the sheet shows of the painting, with captions: all of it, and what is learnt from if that looks otherwise."""
    if painting is None:
        return []
    if not painting.crop and not painting.grain:
        return [("painting: all of it", painting.picture)]
    part = f"part {painting.crop}" if painting.crop else "all of it"
    return [
        ("painting", painting.whole),
        (f"learnt: {part}" + (", no grain" if painting.grain else ""), painting.picture),
    ]


def _nearest(
    perception: PerceptualLoss, photos: Sequence[np.ndarray], recipe: TrainingConfig, device: torch.device
) -> tuple[Candidate | None, str]:
    """The style to begin with, None for random weights; and a line on why, and how to choose otherwise."""
    with autocast(recipe.precision, device):
        found = ranked(named_styles(), perception, photos, device, recipe.arch, recipe.seed)
    if not found:
        why = f" of the architecture {recipe.arch}" if recipe.arch else ""
        return None, f"begins with random weights: no style{why} is at hand (--init STYLE: begin with that one)"
    best, *others = found
    than = f"; next {others[0].name}, {others[0].style:.2f} and {others[0].palette:.2f}" if others else ""
    return best, (
        f"begins with the style {best.name}, which paints most like it (strokes {best.style:.2f}, colors {best.palette:.2f} "
        f"off; a photograph 1{than}); --init STYLE: with another one; --init none: with random weights"
    )


def _beginning(trainer: Trainer, album: ImageFolder, limits: StopCriteria) -> str:
    """A line on what is about to be learnt, from what, where and for how long."""
    recipe = trainer.recipe
    until = f"{limits.iterations} iterations" if limits.iterations else ""
    if limits.minutes:
        until += f"{', at most ' if until else ''}{limits.minutes:g} min"
    what = f"{len(album.photos)} {album.words}"
    return f"learning {recipe.style} from {what} on {trainer.device} in {recipe.precision}, {until}"


def _extra_layers(recipe: TrainingConfig) -> tuple[str, ...]:
    """The layers of the loss network that were asked for by name."""
    texts = {"--style-layers": recipe.style_layers, "--content-layers": recipe.content_layers}
    return tuple(layer for option, text in texts.items() for layer in parse_layers(option, text) or ())


def _init_network(init: Path, recipe: TrainingConfig) -> StyleNetwork:
    """The network of --init, made as wide as --arch says."""
    network = load_style(init, in_channels=7)
    try:
        return net2wider(network, recipe.arch or network.arch, recipe.seed)
    except FavError as error:
        raise FavError(
            f"--init {init} with --arch {recipe.arch}: {error}; leave --arch out to keep that width"
        ) from None


def device_for(inputs: TrainingInputs) -> torch.device:
    """The device, with threads and determinism set for the process, as StyleRunner sets them for films."""
    if inputs.threads:
        torch.set_num_threads(inputs.threads)
    device = device_of(inputs.device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    return device


def _architecture(recipe: TrainingConfig, state: dict | None) -> str:
    """What was asked for; else that of the state that there is, or the one of new styles."""
    return recipe.arch or (str(state["recipe"].get("arch")) if state else WIDE_VIEW)


def _precision(recipe: TrainingConfig, state: dict | None, device: torch.device) -> str:
    """What was asked for; else that of the state that there is, or the best of the device."""
    if recipe.precision != "auto":
        return recipe.precision
    return str(state["recipe"].get("precision")) if state else best_precision(device)


def _material(inputs: TrainingInputs, recipe: TrainingConfig) -> tuple[ImageFolder, list[Clip], str | None, list[str]]:
    """The photographs, the clips and their fingerprint, and notes on what was left out."""
    with Progress(transient=True, disable=not Console().is_terminal) as progress:
        bar = progress.add_task("looking at the photographs", total=None)

        def looked(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        if inputs.photos:
            album = open_image_folder(inputs.photos, recipe.crop, looked)
        else:
            album = video_stills(inputs.video, recipe.crop, looked) if inputs.video else built_in_photos()
        if not inputs.clips:
            return album, [], None, album.notes
        bar = progress.add_task("looking at the clips", total=None)
        clips, clips_print, notes = open_clips(inputs.clips, recipe.most_steps, lambda: progress.advance(bar))
        return album, clips, clips_print, album.notes + notes


def style_metadata(trainer: Trainer, command: str, losses: dict[str, float]) -> dict[str, str]:
    """What a style file says of how it came to be: names, never paths."""
    recipe = trainer.recipe
    return {
        "style": recipe.style,
        **({"steadied": "an image model, whose own pictures were the target"} if recipe.steady else {}),
        "command": command,
        **({"began_with": trainer.began_with} if trainer.began_with else {}),
        "iterations": str(trainer.iteration),
        "minutes": f"{trainer.seconds / 60:.1f}",
        "losses": ", ".join(f"{name} {losses[name]:.4g}" for name in logged_losses(recipe)),
        "loss_network": recipe.loss_network,
        "precision": recipe.precision,
        "input": "BGR 0..255 minus (103.939,116.779,123.68), 7 channels: frame, warped previous result times reliability, "
        "reliability",
        "versions": f"torch {torch.__version__}, numpy {version('numpy')}, opencv {cv2.__version__}",
    }
