"""One training iteration, and the state that it changes."""

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
from fav.training.distill import MatchLoss, Teacher
from fav.training.losses import (
    history_loss,
    lattice_loss,
    pixel_loss,
    range_loss,
    scale_palette_loss,
    tanh_saturation_loss,
    temporal_loss,
    total_variation,
)
from fav.training.schedule import Schedule
from fav.training.unroll import network_input, unroll

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
DIRECTIONS = 8  # random projections of the palette loss in each iteration
MAX_EMA_DECAY = 0.998  # of the average of the weights: about 500 iterations


class Trainer:
    """Trains one network on one device.

    Random numbers of an iteration depend only on the seed and the iteration's number. So no random state is saved.

    Attributes:
        config: The options of the training.
        network: The network that is trained.
        average: The exponential moving average (EMA) of its weights. This is the style: it varies less than the weights
            of one iteration, without a learning rate schedule.
        history: One row of COLUMNS per iteration.
        iteration: The number of finished iterations.
        seconds: Their total time.
        schedule: The number of steps in each iteration.
        painting: The name of the painting that the style imitates, or of the model that taught it.
        began_with: The name of the style with whose weights the training began; "" if there is none.
        is_consistent: False while an iteration changes the state. It stays False after an interruption; the state must
            not be saved then.
    """

    def __init__(
        self,
        config: TrainingConfig,
        perceptual_loss: PerceptualLoss | MatchLoss,
        device: torch.device,
        init: StyleNetwork | None = None,
        teacher: Teacher | None = None,
    ):
        self.config, self.perceptual_loss, self.device, self.teacher = config, perceptual_loss, device, teacher
        torch.manual_seed(config.seed)
        network = init or StyleNetwork(config.arch, 7)
        self.network = placed(network, device).train().requires_grad_()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.history: list[list[float]] = []
        self.seconds, self.is_consistent = 0.0, True
        self.schedule = Schedule(config)
        self.painting, self.began_with = config.style, ""

    @property
    def iteration(self) -> int:
        return len(self.history)

    def iterate(self, batch: Batch, may_end: Callable[[], AbstractContextManager] = nullcontext) -> None:
        """Train one iteration with its batch.

        Args:
            batch: The batch.
            may_end: A context in which an exception may interrupt the iteration. The state is unchanged then.

        Raises:
            FavError: A loss is not finite. The state is unchanged.
        """
        with may_end():
            losses = self._losses(batch)
            total = self._weighted_sum(losses)
            values = torch.stack([*losses, total]).tolist()
            if not np.isfinite(values).all():
                raise FavError(
                    f"iteration {self.iteration}: expected finite losses, got {values[-1]}; "
                    f"start again with a smaller --learning-rate or fewer --num-frame-steps"
                )
            self.optimizer.zero_grad()
            total.backward()
        self.is_consistent = False
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.iteration, self.schedule.progress())
        self.optimizer.step()
        self._update_ema()
        self.history.append([*values, len(batch.flow), self.seconds])
        self.is_consistent = True

    def _losses(self, batch: Batch) -> list[torch.Tensor]:
        """Return the losses in the order of COLUMNS, each the mean over the frames of the batch."""
        batch = Batch(*(part.to(self.device, non_blocking=True).float() for part in batch))
        frames = [*batch.frames]
        # Samples of the batch have the numbers 0 to batch - 1 as the third part of their seed.
        rng = np.random.default_rng((self.config.seed, self.iteration, self.config.batch))
        offset = rng.integers(OFFSETS, size=2).tolist()
        zoom = self.config.zoom ** rng.uniform(-1, 1)
        directions = torch.from_numpy(rng.standard_normal((3, DIRECTIONS))).float().to(self.device)
        with autocast(self.config.precision, self.device):
            output = unroll(self.network, frames, [*batch.flow], [*batch.reliability], self.config.through)
            stylized = torch.cat(output.stylized)
            target = self._targets(frames, output.warped, [*batch.reliability])
            content, style = self.perceptual_loss.losses(stylized, target, offset, zoom)
            history = content.new_zeros(())
            if self.config.forgetting_weight and len(batch.flow):
                single = unroll(self.network, frames[-1:], [], [], self.config.through)
                history = history_loss(output.stylized[-1], single.stylized[0])
        pairs = zip(output.stylized[1:], output.warped, batch.reliability)
        temporal = [temporal_loss(*pair) for pair in pairs] or [content.new_zeros(())]
        excess = (
            range_loss(stylized)
            + tanh_saturation_loss(torch.cat(output.pre_tanh))
            + torch.stack(output.outliers).mean()
        )
        lattice = lattice_loss(stylized, self.network.period)
        palette = self.perceptual_loss.palette(stylized, directions)
        pixel = content.new_zeros(())
        if self.config.pixel_weight:
            pixel = pixel_loss(stylized, target, self.config.pixel_loss)
        temporal = torch.stack(temporal).mean()
        return [content, style, total_variation(stylized), excess, temporal, history, lattice, palette, pixel]

    def _targets(
        self, frames: list[torch.Tensor], warped: list[torch.Tensor], reliability: list[torch.Tensor]
    ) -> torch.Tensor:
        """What the stylized frames should look like: the teacher's pictures, or the frames if there is no teacher."""
        if not self.teacher:
            return torch.cat(frames)
        rest = (
            network_input(frame, image.detach(), mask) for frame, image, mask in zip(frames[1:], warped, reliability)
        )
        return self.teacher(torch.cat([network_input(frames[0]), *rest]))

    def _weighted_sum(self, losses: list[torch.Tensor]) -> torch.Tensor:
        config = self.config
        steadiness = config.steadiness_at(self.schedule.progress())
        weights = (
            config.content_weight,
            config.style_weight,
            config.tv_weight,
            config.range_weight,
            steadiness * config.temporal_weight,
            steadiness * config.forgetting_weight,
            config.lattice_weight,
            config.palette_weight,
            config.pixel_weight,
        )
        *others, palette, pixel = losses
        terms = [*others, scale_palette_loss(palette), pixel]
        return reduce(torch.add, (weight * term for weight, term in zip(weights, terms)))

    @torch.no_grad()
    def validation(self, photos: Iterable[np.ndarray]) -> dict[str, float]:
        """Return the mean validation losses of the style: `content`, `style` and `pixel`.

        Args:
            photos: Held-out photographs (H, W, 3) uint8, each stylized without a prior.
        """
        losses: list[list[float]] = []
        for photo in photos:
            frame = as_tensor(photo).to(self.device)
            with autocast(self.config.precision, self.device):
                target = self._targets([frame], [], [])
                stylized = unroll(self.average, [frame], [], [], False).stylized[0]
                content, style = self.perceptual_loss.losses(stylized, target)
            losses.append([*map(float, (content, style, pixel_loss(stylized, target, self.config.pixel_loss)))])
        means = np.mean(losses, 0).tolist() if losses else [0.0] * 3
        return dict(zip(("content", "style", "pixel"), means))

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(MAX_EMA_DECAY, (1 + self.iteration) / (10 + self.iteration))
        for average, value in zip(self.average.parameters(), self.network.parameters()):
            average.lerp_(value, 1 - decay)

    def state(self) -> dict:
        """Return all state that an iteration changes, for torch.save."""
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
        """Load what `state` returned. Raises the errors of PyTorch if it does not fit this training."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
        if history.shape[1] == len(COLUMNS) - 1:  # saved by a version without the pixel loss
            pixel = COLUMNS.index("pixel")
            history = torch.cat([history[:, :pixel], torch.zeros_like(history[:, :1]), history[:, pixel:]], 1)
        self.history, self.seconds = history.tolist(), float(state["seconds"])
        if "begun" in state:  # not saved by versions without percentages
            self.schedule = Schedule(self.config, begun=state["begun"].tolist())
            self.began_with = str(state["began_with"])


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return a context in which convolutions are computed in `precision`: float32 or bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
