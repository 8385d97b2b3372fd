"""The perceptual loss: loss networks, their published weights, and the distances they measure."""
