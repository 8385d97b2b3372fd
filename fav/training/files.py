"""Files that a training writes: whole, synced, or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..commands import whole
from ..errors import FavError


@dataclass(frozen=True)
class Names:
    """What a training writes, all beside the style itself, `out`."""

    out: Path

    @property
    def state(self) -> Path:
        return self.out.with_name(self.out.name + ".training")

    @property
    def sheet(self) -> Path:
        return self.out.with_suffix(".sheet.png")

    @property
    def plot(self) -> Path:
        return self.out.with_suffix(".losses.png")

    @property
    def table(self) -> Path:
        return self.out.with_suffix(".losses.csv")

    def check(self) -> None:
        """FavError where the style's name is no fit one, or where files are in the way that no training left."""
        if self.out.suffix != ".safetensors":
            raise FavError(f"{self.out}: expected a name that ends in .safetensors")
        if not self.out.parent.is_dir():
            raise FavError(f"{self.out}: expected an existing directory to write to, but there is no {self.out.parent}")
        if self.state.exists():
            return
        for path in (self.out, self.sheet, self.plot, self.table):
            if path.exists():
                raise FavError(f"{path}: expected a new name, but it exists, and no training of it ({self.state.name}); "
                               f"choose another, or remove it first")


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in the place of what was there, in one step and synced. After an OSError all is as before."""
    with whole(path) as private, open(private, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
