"""The perceptual loss: loss networks, their pretrained weights, the painting to learn, and the losses."""
