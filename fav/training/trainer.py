"""One iteration of learning, and everything that it changes."""

import copy
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import numpy as np
import torch

from fav.errors import FavError
from fav.model.devices import placed
from fav.model.network import StyleNetwork
from fav.perceptual.loss import OFFSETS, PerceptualLoss, as_tensor
from fav.training.config import TrainingConfig
from fav.training.dataloader import Batch
from fav.training.losses import (
    eased,
    history_loss,
    lattice,
    pixel_loss,
    range_loss,
    tanh_saturation_loss,
    temporal_loss,
    total_variation,
)
from fav.training.schedule import Schedule
from fav.training.steady import MatchLoss, Teacher
from fav.training.unroll import unroll

COLUMNS = (
    "content",
    "style",
    "variation",
    "range",
    "temporal",
    "forgetting",
    "lattice",
    "palette",
    "pixel",
    "total",
    "steps",
    "seconds",
)  # of the history
DIRECTIONS = 8  # in which colors are compared, drawn anew each time
LONGEST_MEMORY = 0.998  # of the average of the weights: some 500 iterations


class Trainer:
    """A network that learns, on one device.

    `network` is what is trained; `average` is the running average of its weights, which is the style: steadier than the
    weights of any one iteration, without a learning rate that would have to know when the end comes. `history` has a row
    of COLUMNS for each iteration, `iteration` counts those that are done, `seconds` what they took in all; `schedule` says
    how many steps come when, `began_with` the name of the style whose weights were the first ones. Nothing random
    is kept: what is drawn in an iteration is a function of the seed and its number. `whole` is False in the midst of a
    change, and stays so if something breaks it off: there is no state to keep then.
    """

    def __init__(
        self,
        recipe: TrainingConfig,
        perception: PerceptualLoss | MatchLoss,
        device: torch.device,
        init: StyleNetwork | None = None,
        teacher: Teacher | None = None,
    ):
        self.recipe, self.perception, self.device, self.teacher = recipe, perception, device, teacher
        torch.manual_seed(recipe.seed)
        network = init or StyleNetwork(recipe.arch, 7)
        self.network = placed(network, device).train().requires_grad_()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.learning_rate)
        self.history: list[list[float]] = []
        self.seconds, self.whole = 0.0, True
        self.schedule = Schedule(recipe)
        self.began_with = ""

    @property
    def iteration(self) -> int:
        return len(self.history)

    def iterate(self, batch: Batch, may_end: Callable[[], AbstractContextManager] = nullcontext) -> None:
        """Learn from the batch of this iteration. FavError, and nothing changes, where the losses are not finite.

        The long part is within `may_end()`: an exception there leaves everything as it was before the iteration.
        """
        with may_end():
            parts = self._losses(batch)
            total = self._weighted(parts)
            values = torch.stack([*parts, total]).tolist()
            if not np.isfinite(values).all():
                raise FavError(
                    f"iteration {self.iteration}: expected losses that are numbers, got {values[-1]}; "
                    f"begin anew with a smaller --learning-rate or fewer --num-frame-steps"
                )
            self.optimizer.zero_grad()
            total.backward()
        self.whole = False
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.iteration, self.schedule.progress())
        self.optimizer.step()
        self._update_ema()
        self.history.append([*values, len(batch.flow), self.seconds])
        self.whole = True

    def _losses(self, batch: Batch) -> list[torch.Tensor]:
        """The losses in the order of COLUMNS, each the mean over the frames of the batch."""
        batch = Batch(*(part.to(self.device, non_blocking=True).float() for part in batch))
        frames = [*batch.frames]
        rng = np.random.default_rng(
            (self.recipe.seed, self.iteration, self.recipe.batch)
        )  # a number that no sample has
        offset = rng.integers(OFFSETS, size=2).tolist()
        zoom = self.recipe.zoom ** rng.uniform(-1, 1)
        wanted = torch.cat(frames)
        if self.teacher:
            wanted = self.teacher(wanted)
        directions = torch.from_numpy(rng.standard_normal((3, DIRECTIONS))).float().to(self.device)
        with autocast(self.recipe.precision, self.device):
            painted = unroll(self.network, frames, [*batch.flow], [*batch.reliability], self.recipe.through)
            stylized = torch.cat(painted.stylized)
            content, style = self.perception.losses(stylized, wanted, offset, zoom)
            parted = content.new_zeros(())
            if self.recipe.forgetting_weight and len(batch.flow):
                alone = unroll(self.network, frames[-1:], [], [], self.recipe.through)
                parted = history_loss(painted.stylized[-1], alone.stylized[0])
        pairs = zip(painted.stylized[1:], painted.warped, batch.reliability)
        unrest = [temporal_loss(*pair) for pair in pairs] or [content.new_zeros(())]
        excess = (
            range_loss(stylized)
            + tanh_saturation_loss(torch.cat(painted.pre_tanh))
            + torch.stack(painted.outliers).mean()
        )
        woven = lattice(stylized, self.network.period)
        palette = self.perception.palette(stylized, directions)
        pixels = content.new_zeros(())
        if self.recipe.pixel_weight:
            pixels = pixel_loss(stylized, wanted, self.recipe.pixel_loss)
        unrest = torch.stack(unrest).mean()
        return [content, style, total_variation(stylized), excess, unrest, parted, woven, palette, pixels]

    def _weighted(self, parts: list[torch.Tensor]) -> torch.Tensor:
        recipe = self.recipe
        weights = (
            recipe.content_weight,
            recipe.style_weight,
            recipe.tv_weight,
            recipe.range_weight,
            recipe.temporal_weight,
            recipe.forgetting_weight,
            recipe.lattice_weight,
            recipe.palette_weight,
            recipe.pixel_weight,
        )
        *others, palette, pixels = parts
        return reduce(torch.add, (weight * part for weight, part in zip(weights, [*others, eased(palette), pixels])))

    @torch.no_grad()
    def validation(self, photos: Iterable[np.ndarray]) -> dict[str, float]:
        """The losses of the style on photographs (H, W, 3) uint8 that are not learnt from, each painted from nothing."""
        found: list[list[float]] = []
        for photo in photos:
            frame = as_tensor(photo).to(self.device)
            wanted = self.teacher(frame) if self.teacher else frame
            with autocast(self.recipe.precision, self.device):
                stylized = unroll(self.average, [frame], [], [], False).stylized[0]
                content, style = self.perception.losses(stylized, wanted)
            found.append([*map(float, (content, style, pixel_loss(stylized, wanted, self.recipe.pixel_loss)))])
        means = np.mean(found, 0).tolist() if found else [0.0] * 3
        return dict(zip(("content", "style", "pixel"), means))

    @torch.no_grad()
    def _update_ema(self) -> None:
        memory = min(LONGEST_MEMORY, (1 + self.iteration) / (10 + self.iteration))
        for average, value in zip(self.average.parameters(), self.network.parameters()):
            average.lerp_(value, 1 - memory)

    def state(self) -> dict:
        """Everything that an iteration changes, as torch.save takes it."""
        history = torch.tensor(self.history, dtype=torch.float64).reshape(-1, len(COLUMNS))
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": history,
            "seconds": self.seconds,
            "begun": torch.tensor(self.schedule.begun, dtype=torch.int64).reshape(-1, 2),
            "began_with": self.began_with,
        }

    def restore(self, state: dict) -> None:
        """Go on from what `state` returned. Raises what PyTorch raises where it is not of this recipe."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
        if history.shape[1] == len(COLUMNS) - 1:  # of before there was a loss of the pixels
            at = COLUMNS.index("pixel")
            history = torch.cat([history[:, :at], torch.zeros_like(history[:, :1]), history[:, at:]], 1)
        self.history, self.seconds = history.tolist(), float(state["seconds"])
        if "begun" in state:  # not of before there were percentages
            self.schedule = Schedule(self.recipe, begun=state["begun"].tolist())
            self.began_with = str(state["began_with"])


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which convolutions are computed in `precision`: float32 or bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
