"""Small things without a subject: how files are written and read, images, fingerprints, words for numbers."""
