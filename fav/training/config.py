"""Every option that decides the weights of a style, and the words for data and steps; pure."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from fav.errors import FavError
from fav.model.architecture import PRESETS, WIDE_VIEW, parse

KINDS = ("single_image", "shift", "zoom_out", "affine", "elastic", "video")
DEFAULT_MIX = "single_image:2,shift:1,zoom_out:1,affine:4,elastic:2"
VIDEO_SHARE = ",video:5"  # what is added to the default where there are clips
DEFAULT_STEPS = "0:0,1500:2,2200:4"
FITTED_STEPS = "0:0,35%:2,70%:4"  # of a training whose length is a time
FITTED_DECAY = 0.1
FITTED_MINUTES = 30.0
STILLS = 64  # frames of a video that are learnt from in the place of photographs
MOST_STEPS = 32
PIXEL_LOSSES = ("l2", "l1", "smooth-l1")
STEADY = {"pixel_weight": 100.0, "style_weight": 1.0, "palette_weight": 0.0, "tv_weight": 0.0}  # defaults of --steady
LATER = {  # fields that trainings of before did not record, with what they meant
    "steady": False,
    "pixel_weight": 0.0,
    "pixel_loss": "l2",
    "style_layers": "",
    "content_layers": "",
    "decay_every": 0,
    "decay_factor": 0.5,
    "single_image_until": 0,
    "end_factor": 1.0,
}


@dataclass(frozen=True)
class TrainingInputs:
    """What a training reads, and on what it runs; None: no clips, a new network, a card if there is one, all threads.

    style_image is the painting; or, to be made steady, the image model. photos is a directory; without one, the pictures
    are frames of `video`, or the built-in ones. nearest: it begins with the style that paints most like the painting."""

    style_image: Path
    photos: Path | None
    loss_network: str  # a name, or a path
    clips: Path | None = None
    init: Path | None = None
    nearest: bool = False
    video: Path | None = None
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class StopCriteria:
    """When to end, whichever comes first, and how often to write; `minutes` counts all runs of a training together.

    One of iterations and minutes is not None.
    """

    iterations: int | None
    minutes: float | None = None
    save_every: float = 5  # minutes
    sheet_every: float = 15  # minutes

    def progress(self, iteration: int, seconds: float) -> float:
        """How much of a training is done after so many iterations and seconds: from 0 to 1, or more where it went on."""
        done = iteration / self.iterations if self.iterations else 0.0
        return max(done, seconds / (60 * self.minutes)) if self.minutes else done


@dataclass(frozen=True)
class TrainingConfig:
    """What decides the weights: the same recipe gives the same style on the same kind of machine.

    The names ending in _print are fingerprints of contents; they, `loss_network`, and an `arch` or `precision` that was left
    open ("", "auto") are filled in when the inputs have been looked at. mix are relative shares of kinds of samples, steps
    pairs of an iteration and the number of steps in a row from then on; through says whether gradients go back through
    the steps. crop is the side of the training pictures, style_size the longer side of the painting, in pixels, of which
    style_crop is learnt from ("" for all); with style_clean, its grain is taken out (`fav.perceptual.painting`).
    style_scales says how many times smaller the losses look at pictures, zoom how many times larger or smaller, at random,
    they see them at most; pooling is that of the loss network. holes is the share of steps in whose reliability holes
    are torn. The weights of the losses are those of `losses` and `fav.perceptual.loss`. steady: the style is the file of an
    image model, which gives the targets. pixel_loss is one of PIXEL_LOSSES, between pictures and their targets (photographs,
    where there is no model). style_layers and content_layers are layers of the loss network with their weights ("" for
    its own, alike). The learning rate is multiplied by decay_factor every decay_every iterations (0: never), and falls
    along a cosine to end_factor of it at the end (1: not); up to single_image_until, all samples are stills.
    """

    style: str
    style_print: str = ""
    photos_print: str = ""
    loss_network: str = ""
    loss_network_print: str = ""
    arch: str = ""
    init_print: str | None = None
    clips_print: str | None = None
    mix: str = DEFAULT_MIX
    steps: str = DEFAULT_STEPS
    through: bool = True
    crop: int = 224
    batch: int = 2
    style_size: int = 1024
    style_crop: str = ""
    style_clean: bool = True
    style_scales: str = "1,2,4"
    zoom: float = 1.25
    pooling: str = "max"
    content_weight: float = 1.0
    style_weight: float = 10.0
    tv_weight: float = 5.0
    temporal_weight: float = 800.0
    forgetting_weight: float = 300.0
    range_weight: float = 20.0
    palette_weight: float = 1.5
    lattice_weight: float = 300.0
    holes: float = 0.5
    learning_rate: float = 1e-3
    precision: str = "auto"
    seed: int = 0
    steady: bool = False
    pixel_weight: float = 0.0
    pixel_loss: str = "l2"
    style_layers: str = ""
    content_layers: str = ""
    decay_every: int = 0
    decay_factor: float = 0.5
    single_image_until: int = 0
    end_factor: float = 1.0

    def to_json(self) -> dict:
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != LATER[name]}

    def differences(self, other: Mapping) -> list[str]:
        """How this recipe differs from another one that was recorded (to_json), each in words."""
        mine, other = asdict(self), {**LATER, **other}
        return [
            f"{field.name.removesuffix('_print').replace('_', '-')} has another content"
            if field.name.endswith("_print")
            else f"{field.name.replace('_', '-')} was {other.get(field.name)}, not {mine[field.name]}"
            for field in fields(self)
            if other.get(field.name) != mine[field.name]
        ]

    @property
    def mark(self) -> str:
        """What is in the files of this training, and in those of no other; a table of losses has no place for it."""
        words = json.dumps(self.to_json(), sort_keys=True).encode()
        return f"fav training {hashlib.blake2b(words, digest_size=16).hexdigest()}"

    @property
    def most_steps(self) -> int:
        return max(entry.steps for entry in parse_steps(self.steps))

    def check(self, clips: bool) -> None:
        """FavError where mix, steps or arch are not what they have to be; `clips`: whether there are any."""
        parse_steps(self.steps)
        parse_scales(self.style_scales)
        parse_layers("--style-layers", self.style_layers)
        parse_layers("--content-layers", self.content_layers)
        if self.style_crop:
            from fav.perceptual.painting import parse_crop  # imports OpenCV

            parse_crop(self.style_crop)
        if ("video" in parse_mix(self.mix)) != clips:
            raise FavError("--data-mix: expected video with --clips and only with them, got one of the two")
        check_arch(self.arch or WIDE_VIEW)

    def kind(self, iteration: int) -> str:
        """The kind of the samples of an iteration, drawn by their shares: a function of the seed and the iteration alone."""
        if iteration < self.single_image_until:
            return "single_image"
        import numpy as np  # each command of `fav` imports this module, and few need it

        mix = parse_mix(self.mix)
        shares = np.array([*mix.values()], float)
        return str(np.random.default_rng((self.seed, iteration)).choice([*mix], p=shares / shares.sum()))

    def rate_at(self, iteration: int, progress: float = 0) -> float:
        """The learning rate of an iteration; progress: how much of the training is done, 0 to 1."""
        decayed = self.learning_rate * self.decay_factor ** (iteration // self.decay_every if self.decay_every else 0)
        fallen = (1 - math.cos(math.pi * min(progress, 1))) / 2
        return decayed * (1 + (self.end_factor - 1) * fallen)


def parse_mix(text: str) -> dict[str, float]:
    """The relative share of each kind of samples in words like `shift:1,single_image:5`; FavError where it is none."""
    mix: dict[str, float] = {}
    for entry in text.split(","):
        kind, _, share = entry.partition(":")
        if kind not in KINDS or kind in mix or not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", share):
            kinds = ", ".join(KINDS)
            raise FavError(f"--data-mix: expected KIND:SHARE,… with kinds {kinds}, each once, got {entry[:80]!r}")
        mix[kind] = float(share)
    if sum(mix.values()) == 0:
        raise FavError(f"--data-mix: expected a share above 0, got {text[:80]!r}")
    return {kind: share for kind, share in mix.items() if share}


class StepsEntry(NamedTuple):
    """From `start` on, an iteration or a percentage of the training, so many frames follow the first."""

    start: int
    steps: int
    percent: bool = False


def parse_steps(text: str) -> list[StepsEntry]:
    """The number of steps from an iteration on, in words like `0:1,5000:2`; or from a percentage of the training on, like
    `0:0,50%:2`. FavError where it is none, or where the two are mixed.

    0 steps: each frame alone, painted from nothing, whatever kind of sample it is of.
    """
    entries: list[StepsEntry] = []
    for entry in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(%?):(\d{1,3})", entry)
        if not match or int(match[3]) > MOST_STEPS or (match[2] and int(match[1]) > 99):
            form = f"ITERATION:STEPS,… or PERCENT%:STEPS,… with 0 to {MOST_STEPS} steps"
            raise FavError(f"--num-frame-steps: expected {form}, got {entry[:80]!r}")
        if int(match[1]) <= (entries[-1].start if entries else -1) or not entries and int(match[1]):
            raise FavError(f"--num-frame-steps: expected iterations that ascend from 0, got {text[:80]!r}")
        if len(entries) > 1 and bool(match[2]) != entries[-1].percent:
            raise FavError(f"--num-frame-steps: expected iterations or percentages, got both: {text[:80]!r}")
        entries.append(StepsEntry(int(match[1]), int(match[3]), bool(match[2])))
    return entries


def parse_scales(text: str) -> list[int]:
    """How many times smaller the losses look at pictures, in words like `1,2,4`; FavError where it is none."""
    if not re.fullmatch(r"[1-9]\d?(,[1-9]\d?){0,4}", text) or len(set(text.split(","))) < len(text.split(",")):
        raise FavError(
            f"--style-scales: expected up to 5 different numbers from 1 to 99, like 1,2,4, got {text[:80]!r}"
        )
    return sorted(int(word) for word in text.split(","))


def parse_layers(option: str, text: str) -> dict[str, float] | None:
    """Layers of a loss network and their weights, in words like `conv1:1,fire5:0.5`; None for "".

    Raises:
        FavError: The words are not of that form, or no weight is above 0.
    """
    if not text:
        return None
    layers: dict[str, float] = {}
    for entry in text.split(","):
        name, _, weight = entry.partition(":")
        if (
            not re.fullmatch(r"[a-z]\w{0,19}", name)
            or name in layers
            or not re.fullmatch(r"|\d{1,6}(\.\d{1,6})?", weight)
        ):
            raise FavError(f"{option}: expected LAYER:WEIGHT,… with each layer once, got {entry[:80]!r}")
        layers[name] = float(weight or 1)
    if not sum(layers.values()):
        raise FavError(f"{option}: expected a weight above 0, got {text[:80]!r}")
    return {name: weight for name, weight in layers.items() if weight}


def check_arch(arch: str) -> None:
    """FavError where it is no architecture with 7 channels in and 3 out; StyleNetwork itself keeps the size of a frame."""
    import torch  # the command sets how its threads wait before it is imported

    from fav.model.network import StyleNetwork

    try:
        with torch.device("meta"):
            StyleNetwork(arch, 7)
        if {layer.kind for layer in parse(arch)} & set("BAL"):
            raise FavError(
                f"--arch: expected a string without B, A and L, which are those of published models, got {arch}"
            )
    except FavError as error:
        if re.fullmatch(r"[a-z][a-z-]+", arch):  # a name, or meant as one
            raise FavError(f"--arch: expected {', '.join(PRESETS)} or a string of layers, got {arch[:80]!r}") from None
        raise error
