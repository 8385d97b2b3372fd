"""Writes the four paintings: `python -m fav.synthetic.paintings DIRECTORY`."""

import sys
from pathlib import Path

from fav.errors import FavError
from fav.synthetic.paintings.album import write_paintings

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("paintings: expected one directory to write into, as in: python -m fav.synthetic.paintings DIRECTORY")
    try:
        write_paintings(Path(sys.argv[1]))
    except (FavError, OSError) as error:
        sys.exit(f"paintings: {error}")
