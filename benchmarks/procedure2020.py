"""The procedure of 2020, step by step, as one process: what our pipeline is compared with.

Source: Galatic, "Divide and Conquer in Video Style Transfer" (2020), with the consistency check of Ruder, Dosovitskiy and Brox
(2016). The order of the steps, what is read from and written to disk, and the form of the networks (eager float32, NCHW) are
those of that program; the lines are ours. Where it differs: no gradients are kept, and the flow of a frame is not made in a
thread beside the network (where both fill the cores, that gains nothing). The consistency check, a C++ program of one thread
there, is NumPy and OpenCV here, which is no slower.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.stopwatch import Stopwatch, peak_kb
from fav.errors import FavError
from fav.flow.spynet import COARSEST, LEVELS, MEAN, MULTIPLE, STD, load_weights, make_level, name_of
from fav.model.architecture import Layer, parse
from fav.model.checkpoints import load_style

FLO_HEAD = np.dtype([("magic", "<f4"), ("width", "<i4"), ("height", "<i4")])
FLO_MAGIC = 202021.25
MEAN_BGR = (103.939, 116.779, 123.68)
MIN_FILTER = 7  # pixels
SIGMA = 3.0  # of the smoothed structure tensor, pixels
SLOPE, SAME = np.float32([-0.5, 0, 0.5]), np.float32([1])  # filters: central differences, and none


# ---- the style network
class Residual(nn.Sequential):
    """Two valid 3x3 convolutions beside a shortcut that is cropped to the same size."""

    def __init__(self, channels: int):
        branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True), nn.ReLU(),
            nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True),
        )  # fmt: skip
        super().__init__(nn.Sequential(branch))

    def forward(self, x: Tensor) -> Tensor:
        return self[0][0](x) + F.pad(x, (-2, -2, -2, -2))


def plain_network(style: Path) -> nn.Sequential:
    """The network of a style file with PyTorch's own layers, one after the other: (1, 7, H, W) to (1, 3, H, W) within +-1.

    Sides that are no multiples of 4 come out larger. FavError for a style with transposed convolutions, which that program did not know.
    """
    loaded = load_style(style, in_channels=7)
    layers: list[nn.Module] = [nn.ReflectionPad2d(loaded.padding)]
    channels, entries = loaded.in_channels, parse(loaded.arch)
    for number, layer in enumerate(entries, 1):
        layers.append(_plain_layer(layer, channels, style))
        channels = layer.channels or channels
        if layer.kind != "R" and number < len(entries):
            layers += [nn.InstanceNorm2d(channels, affine=True), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Tanh())
    network.load_state_dict(loaded.state_dict())
    return network.eval()


def _plain_layer(layer: Layer, channels: int, style: Path) -> nn.Module:
    if layer.kind == "c":
        return nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.kernel // 2)
    if layer.kind == "R":
        return Residual(channels)
    if layer.kind == "U":
        return nn.Upsample(scale_factor=layer.stride, mode="nearest")
    raise FavError(
        f"{style}: expected a style without transposed convolutions, which the procedure of 2020 did not know"
    )


# ---- optical flow
class PlainSpyNet:
    """SPyNet as published: (H, W, 3) uint8 BGR frames, twice, to the flow (H, W, 2) float32 from the first to the second."""

    def __init__(self, weights: Path):
        found = load_weights(weights)
        self.levels = [make_level().eval() for _ in range(LEVELS)]
        for number, level in enumerate(self.levels):
            level.load_state_dict({key: found[name_of(number, key)] for key in level.state_dict()})

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        sides = [-(-side // MULTIPLE) * MULTIPLE for side in (height, width)]
        pyramids = [
            [F.interpolate(_normalized(frame), sides, mode="bilinear", align_corners=False)]
            for frame in (first, second)
        ]
        for pyramid in pyramids:
            while len(pyramid) < LEVELS and max(pyramid[0].shape[2:]) > COARSEST:
                pyramid.insert(0, F.avg_pool2d(pyramid[0], 2, 2))
        flow = torch.zeros(1, 2, *pyramids[0][0].shape[2:])
        for number, (level, one, two) in enumerate(zip(self.levels, *pyramids)):
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([one, _fetched(two, flow), flow], 1))
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        flow = flow * torch.tensor([width / sides[1], height / sides[0]]).view(1, 2, 1, 1)
        return flow[0].permute(1, 2, 0).numpy()


def _normalized(frame: np.ndarray) -> Tensor:
    picture = torch.from_numpy(np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1), np.float32) / 255)[None]
    return (picture - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def _fetched(picture: Tensor, flow: Tensor) -> Tensor:
    height, width = picture.shape[2:]
    x = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(1, 1, height, width)
    y = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(1, 1, height, width)
    step = torch.tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)]).view(1, 2, 1, 1)
    grid = (torch.cat([x, y], 1) + flow * step).permute(0, 2, 3, 1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)


# ---- files of flow, and where it can be trusted
def write_flo(path: Path, flow: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.array((FLO_MAGIC, flow.shape[1], flow.shape[0]), FLO_HEAD).tofile(file)
        flow.astype(np.float32).tofile(file)


def read_flo(path: Path) -> np.ndarray:
    head = np.fromfile(path, FLO_HEAD, 1)[0]
    return np.fromfile(path, np.float32, offset=FLO_HEAD.itemsize).reshape(head["height"], head["width"], 2)


def consistency(onward: np.ndarray, back: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The authors' check: 255 where `onward` (H, W, 2), from this frame (H, W, 3) to another, is met by `back`, else 0.

    Returns (H, W) uint8. Motion boundaries are found as there, and get the value that they had there: 255.
    """
    height, width = onward.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + onward[..., 0], y + onward[..., 1]
    home = cv2.remap(back, x, y, cv2.INTER_LINEAR)
    gap, here, there = (_squares(flow) for flow in (onward + home, onward, home))
    smaller = corners(frame)
    mean = smaller.mean()
    slack = 4 / mean * np.maximum(0, mean / 2 - smaller) if mean else np.float32(0)
    reliable = np.full((height, width), 255, np.float32)
    edges = sum(_squares(cv2.sepFilter2D(onward, -1, *filters)) for filters in ((SLOPE, SAME), (SAME, SLOPE)))
    reliable[edges > 0.01 * here + 0.002] = 255
    reliable[gap >= 0.01 * (here + there) + slack + 0.5] = 0
    reliable[(x < 0) | (y < 0) | (np.floor(x) + 1 >= width) | (np.floor(y) + 1 >= height)] = 0
    return reliable.clip(0, 255).astype(np.uint8)


def corners(frame: np.ndarray) -> np.ndarray:
    """The smaller eigenvalue of the structure tensor of `frame` (H, W, 3), (H, W) float32, its largest 1."""
    picture = frame.astype(np.float32)
    across, down = cv2.sepFilter2D(picture, -1, SLOPE, SAME), cv2.sepFilter2D(picture, -1, SAME, SLOPE)
    xx, xy, yy = (
        cv2.GaussianBlur((a * b).sum(2), (0, 0), SIGMA) for a, b in ((across, across), (across, down), (down, down))
    )
    half = (xx + yy) / 2
    smaller = half - np.sqrt(np.maximum(0, half * half + xy * xy - xx * yy))
    return smaller / max(smaller.max(), np.finfo(np.float32).tiny)


def _squares(flow: np.ndarray) -> np.ndarray:
    return flow[..., 0] ** 2 + flow[..., 1] ** 2


# ---- the film
class Procedure:
    """One film by the procedure of 2020, in a directory of its own; `watch` counts its steps."""

    def __init__(self, place: Path, watch: Stopwatch, style: Path, spynet: Path, threads: int):
        self.place, self.watch, self.threads = place, watch, threads
        with watch.step("load models"):
            self.flow, self.network = PlainSpyNet(spynet), plain_network(style)
            self.mean = torch.tensor(MEAN_BGR).view(1, 3, 1, 1)

    def run(self, video: Path, film: Path) -> None:
        with self.watch.step("split"):
            self._ffmpeg("-i", video, self.place / "frame_%05d.ppm")
        frames = sorted(self.place.glob("frame_*.ppm"))
        for number, (start, end) in enumerate(zip(frames, frames[1:]), 1):
            self._flow(number, start, end)
        painted = None
        for number, frame in enumerate(frames, 1):
            painted = self._paint(number, frame, painted)
            with self.watch.step("PNG"):
                cv2.imwrite(str(self.place / f"out-{number:05d}.png"), painted.clip(0, 255).astype(np.uint8))
        with self.watch.step("film"):
            silent = self.place / "silent.mp4"
            rate = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=avg_frame_rate",
                                   "-of", "csv=p=0", str(video)], check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
            self._ffmpeg("-framerate", rate, "-i", self.place / "out-%05d.png", "-c:v", "libx264", "-preset", "veryslow",
                         "-pix_fmt", "yuv420p", silent)  # fmt: skip
            self._ffmpeg("-i", silent, "-i", video, "-c", "copy", "-map", "0:0", "-map", "1:a?", film)

    def _geometry(self, number: int) -> tuple[Path, Path]:
        """Files of the flow from frame number + 1 to frame number, and of where it can be trusted."""
        return self.place / f"backward_{number}.flo", self.place / f"reliable_{number}.pgm"

    def _flow(self, number: int, start: Path, end: Path) -> None:
        """Write the files of `_geometry`; the forward flow is removed when it was used."""
        forward, backward, reliable = self.place / f"forward_{number}.flo", *self._geometry(number)
        with self.watch.step("read"):
            before, after = cv2.imread(str(start)), cv2.imread(str(end))
        with self.watch.step("flow"):
            flows = self.flow(before, after), self.flow(after, before)
        with self.watch.step("files of flow"):
            write_flo(forward, flows[0])
            write_flo(backward, flows[1])
        with self.watch.step("consistency"):
            trusted = consistency(read_flo(backward), read_flo(forward), cv2.imread(str(end)))
        with self.watch.step("files of flow"):
            cv2.imwrite(str(reliable), trusted)
            forward.unlink()

    def _paint(self, number: int, path: Path, before: np.ndarray | None) -> np.ndarray:
        """(H, W, 3) float32 of whole numbers, painted on from `before`, which is like it."""
        with self.watch.step("read"):
            frame = cv2.imread(str(path))
        with self.watch.step("input"):
            seen = self._tensor(frame) - self.mean
            prior = torch.zeros(1, 4, *frame.shape[:2])
        if before is not None:
            with self.watch.step("files of flow"):
                backward, reliable = self._geometry(number - 1)
                flow, trusted = read_flo(backward), cv2.imread(str(reliable), cv2.IMREAD_UNCHANGED)
            with self.watch.step("input"):
                trust = -F.max_pool2d(
                    -torch.from_numpy(trusted).float()[None, None] / 255, MIN_FILTER, 1, MIN_FILTER // 2
                )
                flow += np.dstack(np.meshgrid(np.arange(frame.shape[1]), np.arange(frame.shape[0])))
                prior = torch.cat(
                    [(self._tensor(cv2.remap(before, flow, None, cv2.INTER_LINEAR)) - self.mean) * trust, trust], 1
                )
        with self.watch.step("input"):
            seen = torch.cat([seen, prior], 1)
        with self.watch.step("network"):
            painted = self.network(seen) * 150
        with self.watch.step("input"):
            painted = (painted[..., : frame.shape[0], : frame.shape[1]] + self.mean)[0].permute(1, 2, 0).numpy()
            return np.round(painted)

    @staticmethod
    def _tensor(picture: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None]

    def _ffmpeg(self, *words) -> None:
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-threads", str(self.threads), *map(str, words)], check=True)


def main(video: Path, film: Path, style: Path, spynet: Path, place: Path, steps: Path, threads: int) -> None:
    """Make `film` of `video`, its files in `place`, and write the steps' seconds to `steps`."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    watch = Stopwatch()
    with torch.no_grad():
        Procedure(place, watch, style, spynet, threads).run(video, film)
    watch.save(steps, peak_kb=peak_kb(), painting=(0, 0))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:7]), threads=int(sys.argv[7]))
