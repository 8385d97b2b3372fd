"""The file names of video jobs. By these names, the job system distinguishes its files from foreign ones."""

from pathlib import Path

from shared.filesystem import FileSystem
from shared.paths import JobFiles
from shared.shared_dir import SharedDir
from shared.shared_dir import open_share as open_any

SUFFIX = {
    "index": ".json",
    "survey": ".json",
    "decode": ".json",
    "flow": ".png",
    "frame": ".png",
    "warmup": ".png",
    "measure": ".json",
    "encode": ".seg",
    "face": ".png",
    "bwd": ".flo",
    "fwd": ".flo",
    "trust": ".pgm",
}  # by kind of task
FILES = JobFiles(
    endings=(
        *((kind, suffix[1:]) for kind, suffix in SUFFIX.items()),
        ("stitch", "(?i:mp4|mkv|mov|webm|tar)"),
        *(("train", "state"), ("sheet", "png"), ("style", "tar"), ("film", "json")),  # of a job that learns styles
    ),
    old_inputs="video|style|flow_weights|first_frame_style|seed|mask|evaluate|loss_network|mix-[0-9]+",
)


def open_share(root: Path, new: bool = True, read_only: bool = False, system: FileSystem | None = None) -> SharedDir:
    """Open a shared directory of video jobs; arguments and errors as for `shared.shared_dir.open_share`."""
    return open_any(root, system, new=new, read_only=read_only, files=FILES)
