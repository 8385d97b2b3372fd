"""Fast artistic videos: a video and a trained style in, a steady stylized video out."""
