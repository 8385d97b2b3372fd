"""Stylize the frames of a shot one after the other, and prepare them for the film."""
