"""How steady a stylized film is, and how its strokes look, in numbers.

`metrics` measures one frame and the course of a film; it is pure. `lattice`, `strokes`, `sharpness` and `motion` define one
measure each. `comparison` measures a film against its source while both are decoded. `perceptual_metrics` measures style and
content loss and the distance of the palettes. `report` writes a table, CSV, JSON and a plot.
"""
