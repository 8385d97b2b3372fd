"""Fast artistic videos: a video and a trained style in, a steady stylized video out.

Each line imports only from the lines below it:

    cli                                 command lines: what was typed becomes a call
    web                                 the page of `fav web`
    launch                              start nodes: here, by ssh, by Slurm, by Dask
    report                              a job afterwards, on one page
    monitor                             a job now: one snapshot, which every view only renders
    pipeline                            the one bridge between videos and the job system in `shared`
    training                            learn a style
    stylize, evaluation, synthetic      the recurrence and its engine; metrics; made-up clips
    video, flow, perceptual             codecs; optical flow, consistency and warp; the loss network
    model                               networks, style files, backends, devices
    util                                small things without a subject
    errors                              what a user reads; its root is `shared.errors.UserError`
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

# Read when OpenCV is imported: of a file that claims more pixels, in a format whose head nobody else here reads (`images`),
# it decodes nothing.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
