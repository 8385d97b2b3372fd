"""Train a video style from one painting and a folder of photographs.

`config` has all options that affect the weights. `image_folder`, `motion_fields`, `synthetic_sequences`, `video_clips`
and `dataloader` make the samples. `losses` and `unroll` define the objective, `trainer` runs one iteration, and `loop`
repeats it. `checkpoint` saves the state. `contact_sheet`, `loss_curves` and `verdict` show the progress.
`steps` divides a training into steps that any process can continue; `job_submit` and `job_plan` make them tasks of a job.

Sources: Ruder, Dosovitskiy, Brox (2018), sections 4 and 6; Johnson, Alahi, Fei-Fei (2016).
"""
