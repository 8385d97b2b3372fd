"""Metrics of a stylized film: temporal consistency, sharpness and the width of strokes.

`metrics` measures one frame against earlier ones; it is pure. `lattice` (checkerboard artifacts), `strokes` (their
width), `sharpness` and `motion` define one metric each. `comparison` measures a film against its source while both are
decoded. `perceptual_metrics` computes style and content loss and the palette distance. `report` writes a table, CSV,
JSON and a plot.
"""
