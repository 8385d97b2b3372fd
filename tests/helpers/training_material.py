"""A folder of small photographs, a painting and a loss network to train with."""

from pathlib import Path

import cv2
import numpy as np
import torch

from fav.perceptual.loss_network import LOSS_NETWORKS, LossNetwork
from fav.training.image_folder import ImageFolder, open_image_folder
from tests.helpers.material import DATA

TINY = "c3s1-4,d8,R8,U2,c3s1-3"
WIDE = "c3s1-8,d16,R16,U2,c3s1-3"
REAL = DATA / "loss_network" / "squeezenet1_0.safetensors"


def picture(seed: int, height: int = 64, width: int = 80) -> np.ndarray:
    """Soft colored blobs."""
    noise = np.random.default_rng(seed).normal(128, 900, (height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 6).clip(0, 255).astype(np.uint8)


def make_photos(directory: Path) -> Path:
    """Fill a new directory with 24 photographs."""
    directory.mkdir()
    for number in range(24):
        cv2.imwrite(str(directory / f"{number:02d}.png"), picture(number))
    return directory


def make_painting(path: Path) -> Path:
    """Paint diagonal stripes in red and yellow."""
    rows, columns = np.mgrid[0:96, 0:96]
    stripes = ((rows + columns) // 6 % 2)[..., None]
    cv2.imwrite(str(path), np.where(stripes, (20, 40, 220), (60, 230, 240)).astype(np.uint8))
    return path


def make_loss_network(path: Path) -> Path:
    """The real SqueezeNet where it is; elsewhere a random one of torchvision's names and shapes, saved at `path`."""
    if REAL.exists():
        return REAL
    torch.manual_seed(0)
    torch.save(torchvision_state("squeezenet1_1"), path)
    return path


def torchvision_state(kind: str, last: int = 30) -> dict[str, torch.Tensor]:
    """Random weights by torchvision's names: `features.N` counts convolutions, activations, poolings and fire modules."""
    state, number = {}, 0
    for sort, *sizes in LOSS_NETWORKS[kind].steps.values():
        if number > last:
            break
        if sort == "conv":
            state |= _convolution(f"features.{number}", *sizes[:3])
            number += 1
        elif sort == "fire":
            inputs, squeezed = sizes
            state |= _convolution(f"features.{number}.squeeze", inputs, squeezed, 1)
            state |= _convolution(f"features.{number}.expand1x1", squeezed, 4 * squeezed, 1)
            state |= _convolution(f"features.{number}.expand3x3", squeezed, 4 * squeezed, 3)
        number += 1
    return state | {"classifier.1.weight": torch.zeros(2, 2)}


def _convolution(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, torch.Tensor]:
    scale = (2 / (inputs * kernel**2)) ** 0.5
    weight = scale * torch.randn(outputs, inputs, kernel, kernel)
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outputs)}


def album_of(directory: Path) -> ImageFolder:
    return open_image_folder(directory, 32)


def random_loss_network(kind: str = "squeezenet1_1") -> LossNetwork:
    torch.manual_seed(0)
    design = LOSS_NETWORKS[kind]
    return LossNetwork(design, tuple(dict.fromkeys(design.style_layers + design.content_layers)))


def small_training(painting: Path, photos: Path, loss_network: Path) -> list[str]:
    """The words of `fav train SHARED` for 4 iterations of stills and pairs, 2 in each task, without nodes here."""
    options = {"--loss-network": loss_network, "--arch": TINY, "--crop": 32, "--style-size": 96, "--threads": 1,
               "--precision": "float32", "--num-frame-steps": "0:0,50%:1", "--iterations": 4,
               "--task-iterations": 2}  # fmt: skip
    return [str(painting), str(photos), *(str(word) for pair in options.items() for word in pair)]
