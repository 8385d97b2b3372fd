"""Learning a style: one painting and a folder of photographs in, a style for videos out.

recipe: every option that decides the weights. photos, motion, stills, clips, batches: what is learnt from.
loss_network, losses, recurrence: what is learnt. trainer: one iteration. resume: the state on disk. loop: until it is done.
sheet, curves: what there is to look at meanwhile. command: `python -m fav train`.

Sources: Ruder, Dosovitskiy, Brox (2018), sections 4 and 6; Johnson, Alahi, Fei-Fei (2016).
"""
