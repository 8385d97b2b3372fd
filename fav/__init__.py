"""Fast artistic videos: a video and a trained style in, a steady stylized video out.

Its rooms, from the bottom up. Pure, arrays in and arrays out: `warp` (and `warp_tensor`, with gradients), `consistency`, `shots`,
`stylize` (the recurrence), `blend`. Files and devices: `reading` (whole, once, and never waiting), `video/` (decode and encode),
`images`, `drawing` (plots), `flow/` (one file a method),
`flow_io`, `geometry` (how a frame hangs on an earlier one), `network`, `checkpoints`, `torch7`, `mixing`, `backends/` (what runs
the network), `inference`, `cards` (whose GPU is whose). A film in one process: `spec`, `run`, `timeline`, `film`, `finish`; `ahead` and
`heap` (nothing waits, memory stays). On the share: `submission`, `shelf`, `tasks` (the bridge to `shared`), `follow`,
`room`. The operator's side: `coordinator/` (the commands), `preflight` (what a host tells before any work starts), `live/` (a job on
the screen), `job_report/` (a page about it). Learning and measuring: `training/`, `evaluation/`, `sample`, `scene`. What was
typed: `options`, `request`, `commands`, `__main__`. For all of them: `util/` (how files are written and read).
"""

import os

# Read when OpenCV is imported: of a file that claims more pixels, in a format whose head nobody else here reads (`images`),
# it decodes nothing.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
