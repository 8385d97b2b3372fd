"""Clips that are made by this program: a sample to try things on, and scenes of which every motion is known."""
