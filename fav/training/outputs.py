"""The files that a training writes. Each is complete and synced, or absent; only files of the same training are replaced."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError
from fav.util.atomic import PathTakenError, check_new, check_own, kind_of, own_file


@dataclass(frozen=True)
class OutputPaths:
    """The files that a training writes, all in the directory of the style `out`."""

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

    @property
    def results(self) -> tuple[Path, Path, Path, Path]:
        """All files except the state."""
        return self.out, self.sheet, self.plot, self.table

    def check(self) -> None:
        """Raise FavError if the name of the style is invalid, or if other files have the names."""
        if self.out.suffix != ".safetensors":
            raise FavError(
                f"{self.out}: expected a name that ends in .safetensors, got {self.out.suffix or 'no suffix'}"
            )
        if not self.out.parent.is_dir():
            raise FavError(f"{self.out}: expected an existing directory to write to, but there is no {self.out.parent}")
        if not os.access(self.out.parent, os.W_OK):
            raise FavError(
                f"{self.out}: expected a directory that this user may write to, got one without permission; choose "
                f"another, or correct its permissions"
            )
        kind = kind_of(self.state)
        if kind is None:
            for path in self.results:
                check_new(path)
        elif not stat.S_ISREG(os.lstat(self.state).st_mode):
            raise PathTakenError(f"{self.state}: expected the state of a training, got {kind}; move it away")

    def check_own(self, mark: str, table_mark: str) -> None:
        """Raise FavError if one of the names is taken by a file that this training did not write.

        Args:
            mark: A text that identifies the training. All its files except the table contain it.
            table_mark: The text that the table begins with.
        """
        for path in self.results:
            check_own(path, table_mark if path == self.table else mark)


def write_own(path: Path, data: bytes, mark: str) -> None:
    """Write `data` to `path`. Replaces an earlier file that contains the mark (`fav.util.atomic.own_file`)."""
    with own_file(path, mark) as draft:
        draft.file.write_bytes(data)
