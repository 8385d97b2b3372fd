"""Fast artistic videos: a video and a trained style in, a steady stylized video out.

Each line imports only from the lines below it:

    cli                                 command lines: they turn arguments into calls
    web                                 the page of `fav web`
    launch                              start nodes: here, by ssh, by Slurm, by Dask
    report                              a page about a job
    monitor                             the state of a job: one snapshot, which every view only renders
    pipeline                            connects videos with the job system in `shared`
    training                            learn a style
    stylize, evaluation, synthetic      the recurrence and its engine; metrics; images and clips that are drawn
    video, flow, perceptual             codecs; optical flow, consistency and warp; the loss network
    model                               networks, style files, backends, devices
    util                                general functions
    errors                              the error of this package; its root is `shared.errors.UserError`
"""

import os
import sys
from pathlib import Path

__version__ = "0.1.0"

# Installed, the package `shared` lies in a directory of this one: its name is too common for site-packages.
_here = Path(__file__).resolve().parent
_home = _here / "_private" if (_here / "_private").is_dir() else _here.parent
if str(_home) not in sys.path:
    sys.path.insert(0, str(_home))

# OpenCV reads this when it is imported. It then refuses images of more pixels, in formats that `fav.util.images` does not check.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
