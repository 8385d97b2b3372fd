"""Stylize the frames of a video one after the other, and postprocess them for the film."""
