"""Learn a style: one painting and a folder of photographs in, a style for videos out.

`config` has every option that decides the weights. Samples come from `image_folder`, `motion_fields`, `synthetic_sequences`,
`video_clips` and `dataloader`. `losses` and `unroll` are what is minimized, `trainer` is one iteration, `loop` repeats it,
`checkpoint` is the state on disk. `contact_sheet` and `loss_curves` show a training while it runs.

Sources: Ruder, Dosovitskiy, Brox (2018), sections 4 and 6; Johnson, Alahi, Fei-Fei (2016).
"""
