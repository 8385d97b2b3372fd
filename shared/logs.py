"""Logs: what nodes have said that somebody else started, one file each in the share's `logs`."""

LOG_HEAD = "the log of a node of fav"  # the first line of each: what begins otherwise is another's file
