"""The page of `fav web`: what an artist opens instead of a terminal. It renders the snapshot and calls what the commands call.

The shared directory is the only state: the server can be stopped and started anywhere, also twice at a time.

    app        the pages and addresses, and what answers each of them
    request_fields  the fields of a request, checked
    security   who may ask: token, host, origin; and what a page may load
    live       one reader of the share for all browsers, and their stream of events
    views      what a page says of a job or a node; pure
    forms      the form of a new job from the schema of its options, and a request from what was filled in
    places     the videos, pictures and styles that a page may name
    uploads    files that a browser sends, in pieces
    media      pictures and films as answers, with ranges
    worker     a process for work with pictures, which may die alone
    pictures   what that process does
"""
