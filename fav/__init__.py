"""Fast artistic videos: a video and a trained style in, a steady stylized video out.

Each line imports only from the lines below it:

    cli                                 command lines: what was typed becomes a call
    launch                              start nodes: here, by ssh, by Slurm, by Dask
    report                              a job afterwards, on one page
    monitor                             a job now: one snapshot, which every view only renders
    pipeline                            the one bridge between videos and the job system in `shared`
    training                            learn a style
    stylize, evaluation, synthetic      the recurrence and its engine; metrics; made-up clips
    video, flow, perceptual             codecs; optical flow, consistency and warp; the loss network
    model                               networks, style files, backends, devices
    util                                small things without a subject
    errors                              the root of every error that a user reads
"""

import os

# Read when OpenCV is imported: of a file that claims more pixels, in a format whose head nobody else here reads (`images`),
# it decodes nothing.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
