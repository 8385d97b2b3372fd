"""Connect videos with the job system: which tasks a job has, what each task needs, and how it runs.

What a user asks for becomes a job:

    request, arguments                  what was typed; common mistakes in it
    option, spec                        what an option is; all options, and the record of one job
    submit                              create a job or join one; its steps are the modules of the next lines
    check_request, projection, over_time    check the inputs and options
    check_space, disk_space             compare the free space with the estimate
    resolve_options, chunking           read cuts, decide --chunk
    spec_fields                         the fields of the record
    film_output                         size, name and encoder of the film
    submit_notes, mixture_notes         notes for the user
    import_inputs, inputs               put the inputs into the shared directory; check that they stay the same
    job_naming, provenance              name of the job; where it came from

A job becomes tasks, and their results a film:

    plan                                which tasks there are, and how each runs
    index_tasks, face_tasks, encode_tasks, evaluation_tasks    the tasks beside flow and frames
    takeovers, same_frames              tasks that an idle node takes from a slow one; frames of another job
    device_lock, numeric_class          which GPU a node uses; which nodes may join a --bit-exact job
    task_names, job_files               names of tasks and of files
    artifacts, checked_json             read published results; records with a checksum
    progress, omitted_results, repair   count results; name the missing ones; find damaged ones
    stitching, film_comment, animation  write the film, its comment and a small preview
    delivery                            give results the names that the user chose
    job_control                         the operator's actions

Two other kinds of jobs:

    flow_submit, flow_plan, flow_delivery    write optical flow to files
    training_job, training_progress     the record of a job that learns styles; its progress (`fav.training` runs it)
    training_files, film_request        what it delivers; the film that is made with the new style
"""
