"""The perceptual loss: loss networks, their published weights, the painting that is learnt from, and the distances."""
