"""How steady a stylized film is, in numbers.

`metrics` measures one frame and the course of a film; it is pure. `comparison` measures a film against its source while both
are decoded. `perceptual_metrics` measures style and content loss. `report` writes a table, CSV, JSON and a plot.
"""
