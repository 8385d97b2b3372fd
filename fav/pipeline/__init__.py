"""Connect videos with the job system: which tasks a job has, what each task needs, and how it runs.

What a user asks for becomes a job:

    request                             what was typed
    option, spec                        what an option is; all options, and the record of one job
    submit                              create a job or join one; its steps are the modules of the next lines
    check_request, check_space          check the inputs and options; compare the free space with the estimate
    resolve_options, spec_fields        read cuts, decide --chunk; the fields of the record
    film_output, submit_notes           size, name and encoder of the film; notes for the user
    import_inputs, inputs               put the inputs into the shared directory; check that they stay the same
    job_naming, provenance              name of the job; where it came from

A job becomes tasks, and their results a film:

    plan                                which tasks there are, and how each runs
    index_tasks, encode_tasks, evaluation_tasks    the tasks beside flow and frames
    task_names, job_files               names of tasks and of files
    artifacts, progress, repair         read published results; count them; find damaged ones
    stitching, film_comment, animation  write the film, its comment and a small preview
    delivery                            give results the names that the user chose
    job_control                         the operator's actions
"""
