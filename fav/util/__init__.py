"""What every room may use: `atomic` (how files for people are written) and `reading` (how files of anybody are read)."""
