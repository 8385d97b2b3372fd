"""The names of the cameras of `fav.synthetic.scene`, in a module that imports nothing slow."""

MOTIONS = {  # of the camera
    "tripod": "it does not move",
    "pan": "it moves sideways, by 1.5 pixels per frame (of 360 rows)",
    "handheld": "it shakes, turns and tilts a little",
    "zoom": "it moves closer and back, by up to 1 % per frame",
    "fast": "it moves sideways, by 14 pixels per frame, and objects move three times as fast",
}
