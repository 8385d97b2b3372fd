"""Make the pictures of docs/how-to/controls.md again, by the commands that the page shows, from the sample clip; and sample.jpg.

    python docs/images/make.py

Each picture of that page is a row of versions of one frame, 320 pixels wide. It takes a few minutes on two cores.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STYLE = "composition_vii"
MIXED = "starry_night", "wave"
SHOWN = "starry_night", "composition_vii", "wave", "the_scream"  # in sample.jpg
FRAME, OTHER_FRAME = 12, 70  # of the two scenes of the clip
WARM_UP = 6  # frames before it
WIDTH = 320
SCENE_WIDTH = 400  # in sample.jpg
GAP = 4  # pixels between two versions


def fav(*arguments: object) -> None:
    """Run a command of this checkout; its output goes to the terminal."""
    subprocess.run([sys.executable, "-m", "fav", *map(str, arguments)], cwd=ROOT, check=True)


class Films:
    """Films of the first frames of the sample clip, in a directory that is removed afterwards."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.share = directory, directory / "share"
        self.share.mkdir()
        self.sample = directory / "sample.mp4"
        fav("sample", self.sample)

    def make(self, name: str, *options: object, style: str = STYLE) -> np.ndarray:
        """Stylize with these options as a job of its own; the frame, BGR uint8 (H, W, 3)."""
        out = f"{name}-frames/frame_%04d.png"
        film = ("--width", WIDTH, "--range", f"0:{FRAME + 1}", "--name", name, "--out", out)
        fav("run", self.share, self.sample, style, *film, *options)
        return self._frame(out)

    def stitch(self, job: str, name: str, *options: object) -> np.ndarray:
        """Make another film of the job's frames; the frame, BGR uint8 (H, W, 3)."""
        out = f"{name}-frames/frame_%04d.png"
        fav("stitch", self.share, job, "--out", out, *options)
        return self._frame(out)

    def two_scenes(self, style: str | None) -> np.ndarray:
        """A frame of each scene, one above the other, in a style (None: of the source), BGR uint8 (H, W, 3)."""
        frames = []
        for frame in (FRAME, OTHER_FRAME):
            out = self.directory / f"{style}-{frame}"
            strength = () if style else ("--strength", 0)
            span = f"{frame - WARM_UP}:{frame + 1}"
            fav("stylize", self.sample, style or STYLE, out / "frame_%04d.png", "--range", span, *strength)
            image = cv2.imread(str(sorted(out.glob("*.png"))[-1]))
            frames.append(cv2.resize(image, (SCENE_WIDTH, 225), interpolation=cv2.INTER_AREA))
        gap = np.full((GAP, SCENE_WIDTH, 3), 255, np.uint8)
        return np.vstack([frames[0], gap, frames[1]])

    def _frame(self, out: str) -> np.ndarray:
        frame = cv2.imread(str(sorted((self.share / out).parent.glob("*.png"))[FRAME]))
        return cv2.resize(frame, (WIDTH, round(frame.shape[0] * WIDTH / frame.shape[1])), interpolation=cv2.INTER_AREA)


def save(name: str, *versions: np.ndarray) -> None:
    """Write the versions side by side, (H, W, 3) each, as docs/images/NAME.jpg."""
    gap = np.full((versions[0].shape[0], GAP, 3), 255, np.uint8)
    row = [part for version in versions for part in (gap, version)][1:]
    cv2.imwrite(str(ROOT / "docs" / "images" / f"{name}.jpg"), np.hstack(row), [cv2.IMWRITE_JPEG_QUALITY, 90])


def soft_ellipse(height: int, width: int) -> np.ndarray:
    """A white ellipse on black with a soft edge, uint8 (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(mask, (0, 0), width / 40)


def main() -> None:
    """Make all pictures."""
    with TemporaryDirectory() as directory:
        films = Films(Path(directory))
        save("sample", *(films.two_scenes(style) for style in (None, *SHOWN)))
        style = films.make("style")
        source = films.stitch("style", "source", "--strength", 0)
        save(
            "control-strength",
            source,
            *(films.stitch("style", f"s{part}", "--strength", part) for part in (0.3, 0.6)),
            style,
        )
        save("control-colors", source, style, films.stitch("style", "colors", "--preserve-colors"))
        mask = soft_ellipse(*style.shape[:2])
        cv2.imwrite(str(films.directory / "mask.png"), mask)
        masked = films.stitch("style", "masked", "--mask", films.directory / "mask.png")
        save("control-mask", source, cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), masked)
        scales = [films.make(f"scale{scale}", "--style-scale", scale) for scale in (0.5, 2)]
        save("control-style-scale", scales[0], style, scales[1])
        one, other = MIXED
        mixed = [films.make(f"mix{part}", "--mix", f"{other}:{part}", style=one) for part in (0.25, 0.5, 0.75)]
        save("control-mix", films.make("one", style=one), *mixed, films.make("other", style=other))


if __name__ == "__main__":
    main()
