"""Train a video style from one painting and a folder of photographs.

`config` has all options that affect the weights, `setup` checks the inputs, and `nearest` chooses the style to start from.
`image_folder`, `motion_fields`, `synthetic_sequences`, `video_clips` and `dataloader` make the samples. `losses` and
`unroll` define the objective, `schedule` the number of frames. `trainer` runs one iteration, and `loop` repeats it until
`stop_signals` says otherwise. `checkpoint` saves the state, `outputs` names the files. `contact_sheet`, `loss_curves` and
`verdict` show the progress. `steps` divides a training into steps that any process can continue; `job_submit` and `job_plan`
make them tasks of a job. `distill` learns a style from an image model or another style. `net2wider` widens a network.

Sources: Ruder, Dosovitskiy, Brox (2018), sections 4 and 6; Johnson, Alahi, Fei-Fei (2016).
"""
