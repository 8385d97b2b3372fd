"""Reports as HTML pages: about a job, about a training, and about a trial of several styles.

`data` reads the results of a job, `plots` draws, and `html` writes the page. `training_page` writes that of a training.
`trial_sheet` writes the contact sheet of `fav try`.
"""
