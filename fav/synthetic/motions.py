"""The cameras of the drawn scenes (`fav.synthetic.scene`), for those who only name them; imports nothing slow."""

MOTIONS = {  # of the camera
    "tripod": "it stands still",
    "pan": "it travels to the side, 1.5 pixels a frame (of 360 rows)",
    "handheld": "it shakes, turns and tilts a little",
    "zoom": "it draws near and away again, up to 1 % a frame",
    "fast": "it travels 14 pixels a frame, and things move three times as fast",
}
