"""How steady a stylized film is, in numbers.

measures: arithmetic on one frame and on their course. comparison: a film measured against its source, as both are decoded.
style_losses: how much of a painting is in it.
report: what came of it, as a table, CSV, JSON and a plot. command: `python -m fav evaluate`.
"""
