"""The perceptual loss of a style, for training and evaluation.

`loss_network` defines the networks whose features are compared, and `pretrained` loads their weights. `painting` reads the
image of the style, and `painting_parts` suggests parts of it. `loss` computes the content and style loss, and `palette` the
distance between colors.
"""
