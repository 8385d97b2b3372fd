"""The command lines: they turn arguments into calls.

`tools` is `fav` and `python -m fav`, with all commands; `commands` are those of `coordinator.py`; `node` is `node.py`. Each
other module has one command or one group, by its name. Some modules have no command:

    common, options, log_options, share_argument    what several commands share
    plans                               the plan of a job, by what it makes
    outputs                             where reports and previews are written
    reference, options_table            write pages of the documentation
"""
