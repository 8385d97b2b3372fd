"""Which version of this program it is: told by its sources themselves, whether they came by git, by rsync or by hand."""

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("*.py", "fav/**/*.py", "fav/**/*.html", "shared/**/*.py")


@cache  # a checkout that is replaced under a process that runs does not change that process
def version(root: Path = ROOT) -> str:
    """Twelve hexadecimal digits that differ where any source of the checkout does; the ends of lines do not count."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(path for part in PARTS for path in root.glob(part)):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()
