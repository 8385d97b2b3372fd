"""Images and clips that this program draws.

`sample_clip` draws the clip of `fav sample`. `scene` draws scenes whose motion is known at every pixel, with the cameras of
`motions`. `photographs` and `paintings` draw images to learn from.
"""
