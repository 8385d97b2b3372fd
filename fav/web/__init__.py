"""The page of `fav web`, for people who prefer a browser to a terminal. It shows the snapshot, and calls the same functions as
the commands.

The shared directory is the only state: the server can be stopped and started anywhere, and several can run at a time.

    app               which address has which answer
    request_fields    the fields of a request, checked
    security          who may send requests: token, host, origin; and what a page may load
    live              one reader of the share for all browsers, and their stream of events
    views             what a page shows of a job or a node; pure
    forms             the form of a new job, from the schema of its options; a request from a filled form
    places            the videos, pictures and styles that a page may name
    uploads           files that a browser sends in pieces
    learning          trainings that a page starts
    media             pictures and films as answers, with ranges
    worker            a process for work with pictures, so that a crash does not end the server
    pictures          the functions that run in this process
"""
