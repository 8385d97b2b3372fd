"""Pictures made by this program: a sample clip, scenes of which every motion is known, photographs and paintings to learn from."""
