"""The options that decide the weights of a style, and parsers of their values; pure."""

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
VIDEO_SHARE = ",video:5"  # added to the default mix if there are clips
DEFAULT_STEPS = "0:0,1500:2,2200:4"
FITTED_STEPS = "0:1,85%:2"  # if the length of the training is a time, not a number of iterations
FITTED_DECAY = 0.1
FITTED_STEADINESS = 5.0
PAINTING_ALONE = {  # other defaults of a painting alone
    "steps": FITTED_STEPS,
    "end_factor": FITTED_DECAY,
    "steadiness_end_factor": FITTED_STEADINESS,
}
FITTED_MINUTES = 30.0
FITTED_ITERATIONS = 2400  # of a job, which counts no minutes: 3,300 fit into these on one core with bfloat16
STILLS = 64  # frames of a video that replace photographs
MOST_STEPS = 32
PIXEL_LOSSES = ("l2", "l1", "smooth-l1")
STEADY_STEPS = "0:0,30%:1,90%:2"  # of --steady: the model's pictures are learned first, then memory
STEADY = {  # other defaults of --steady; with a painting's weights for steadiness, the pictures become blurred
    "pixel_weight": 100.0,
    "style_weight": 1.0,
    "palette_weight": 0.0,
    "tv_weight": 0.0,
    "temporal_weight": 60.0,
    "forgetting_weight": 30.0,
}
COPY_ITERATIONS = 1000
COPY = {  # other defaults of --copy: the model's films are steady, so nothing else makes the new style steady
    **STEADY,
    "temporal_weight": 0.0,
    "forgetting_weight": 0.0,
}
LATER = {  # fields that older saved states lack, with the values that they stand for
    "steady": False,
    "copied": False,
    "pixel_weight": 0.0,
    "pixel_loss": "l2",
    "style_layers": "",
    "content_layers": "",
    "decay_every": 0,
    "decay_factor": 0.5,
    "single_image_until": 0,
    "end_factor": 1.0,
    "steadiness_end_factor": 1.0,
}


@dataclass(frozen=True)
class TrainingInputs:
    """The files that a training reads, and the device it runs on.

    Attributes:
        style_image: the painting; with --steady, the image model; with --copy, the style.
        photos: directory of photographs; None: frames of `video`, or the built-in pictures.
        loss_network: a name, or a path.
        clips: directory of video clips; None: none.
        init: style to begin with; None: random weights.
        nearest: begin with the listed style that is most similar to the painting.
        video: its frames replace photographs.
        device: None: a GPU if there is one.
        threads: None: all cores.
    """

    style_image: Path
    photos: Path | None
    loss_network: str
    clips: Path | None = None
    init: Path | None = None
    nearest: bool = False
    video: Path | None = None
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class StopCriteria:
    """When a training stops, and how often it writes files.

    It stops at the first of `iterations` and `minutes`; one of them is not None.

    Attributes:
        minutes: summed over all runs of the training.
    """

    iterations: int | None
    minutes: float | None = None
    save_every: float = 5  # minutes
    sheet_every: float = 15  # minutes

    def progress(self, iteration: int, seconds: float) -> float:
        """The finished fraction of a training: 0 to 1, or more after its end."""
        done = iteration / self.iterations if self.iterations else 0.0
        return max(done, seconds / (60 * self.minutes)) if self.minutes else done


@dataclass(frozen=True)
class TrainingConfig:
    """The options that decide the weights: equal options give the same style on the same kind of machine.

    Attributes:
        style: file name of the painting or the model.
        style_print: fingerprint of its content, as all names that end in _print. These, `loss_network`, and an open
            `arch` ("") or `precision` ("auto") are filled in when the inputs are opened.
        mix: proportions of the kinds of samples (`parse_mix`).
        steps: number of unrolled steps, by iteration (`parse_steps`).
        through: whether gradients pass through the steps.
        crop: side of the training images, in pixels.
        style_size: longer side of the painting, in pixels.
        style_crop: part of the painting to learn from; "": all.
        style_clean: remove the painting's grain first (`fav.perceptual.painting`).
        style_scales: factors by which images are reduced for the losses (`parse_scales`).
        zoom: largest random enlargement or reduction of images for the losses.
        pooling: of the loss network.
        holes: fraction of steps with random holes in the reliability.
        steady: the style file is an image model, whose pictures are the targets.
        copied: the style file is a style, whose pictures are the targets.
        pixel_loss: one of PIXEL_LOSSES, between pictures and targets (without a model: the photographs).
        style_layers: layers of the loss network with weights; "": its own, with equal weights. So are content_layers.
        decay_every: iterations after which the learning rate is multiplied by decay_factor; 0: never.
        end_factor: factor of the learning rate at the end, which it reaches along a cosine; 1: no decrease.
        steadiness_end_factor: the same for the temporal and the forgetting weight; 1: no increase.
        single_image_until: up to this iteration, all samples are stills.

    The weights are those of `losses` and `fav.perceptual.loss`.
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
    palette_weight: float = 10.0
    lattice_weight: float = 300.0
    holes: float = 0.5
    learning_rate: float = 1e-3
    precision: str = "auto"
    seed: int = 0
    steady: bool = False
    copied: bool = False
    pixel_weight: float = 0.0
    pixel_loss: str = "l2"
    style_layers: str = ""
    content_layers: str = ""
    decay_every: int = 0
    decay_factor: float = 0.5
    single_image_until: int = 0
    end_factor: float = 1.0
    steadiness_end_factor: float = 1.0

    def to_json(self) -> dict:
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != LATER[name]}

    def differences(self, other: Mapping) -> list[str]:
        """The differences from a recorded configuration (the output of `to_json`), each as text."""
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
        """A tag in the files of this training and of no other. (The table of losses has none.)"""
        words = json.dumps(self.to_json(), sort_keys=True).encode()
        return f"fav training {hashlib.blake2b(words, digest_size=16).hexdigest()}"

    @property
    def taught(self) -> bool:
        """Whether the pictures of a model are the targets, instead of a painting's strokes."""
        return self.steady or self.copied

    @property
    def most_steps(self) -> int:
        return max(entry.steps for entry in parse_steps(self.steps))

    def check(self, clips: bool) -> None:
        """Raise FavError if a value is not valid. `clips`: whether there are clips."""
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
        """The kind of samples of an iteration, drawn by the proportions of `mix`. It depends on seed and iteration."""
        if iteration < self.single_image_until:
            return "single_image"
        import numpy as np  # each command of `fav` imports this module, and few need it

        mix = parse_mix(self.mix)
        shares = np.array([*mix.values()], float)
        return str(np.random.default_rng((self.seed, iteration)).choice([*mix], p=shares / shares.sum()))

    def rate_at(self, iteration: int, progress: float = 0) -> float:
        """The learning rate of an iteration. `progress`: the finished fraction of the training, 0 to 1."""
        decayed = self.learning_rate * self.decay_factor ** (iteration // self.decay_every if self.decay_every else 0)
        return decayed * _along_cosine(self.end_factor, progress)

    def steadiness_at(self, progress: float) -> float:
        """The factor of the temporal and the forgetting weight. `progress`: as for `rate_at`."""
        return _along_cosine(self.steadiness_end_factor, progress)


def _along_cosine(end: float, progress: float) -> float:
    """Change from 1 to `end` along a cosine. `progress`: 0 to 1."""
    return 1 + (end - 1) * (1 - math.cos(math.pi * min(progress, 1))) / 2


def parse_mix(text: str) -> dict[str, float]:
    """Parse proportions of kinds of samples, such as `shift:1,single_image:5`. Raises FavError if not valid."""
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
    """From `start` on (an iteration, or a percentage of the training), `steps` frames follow the first one."""

    start: int
    steps: int
    percent: bool = False


def parse_steps(text: str) -> list[StepsEntry]:
    """Parse the numbers of unrolled steps: from iterations on, `0:1,5000:2`; or from percentages on, `0:0,50%:2`.

    With 0 steps, each frame is stylized without a previous one.

    Raises:
        FavError: the text is not valid, or mixes iterations and percentages.
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
    """Parse the factors by which images are reduced for the losses, such as `1,2,4`. Raises FavError if not valid."""
    if not re.fullmatch(r"[1-9]\d?(,[1-9]\d?){0,4}", text) or len(set(text.split(","))) < len(text.split(",")):
        raise FavError(
            f"--style-scales: expected up to 5 different numbers from 1 to 99, like 1,2,4, got {text[:80]!r}"
        )
    return sorted(int(word) for word in text.split(","))


def parse_layers(option: str, text: str) -> dict[str, float] | None:
    """Parse layers of a loss network and their weights, such as `conv1:1,fire5:0.5`; None for "".

    Raises:
        FavError: The text is not of that form, or no weight is above 0.
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
    """Raise FavError unless this is an architecture with 7 input and 3 output channels that keeps the frame size."""
    import torch  # after the command has set OMP_WAIT_POLICY

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
