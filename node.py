#!/usr/bin/env python3
"""A node: joins a shared directory, works on its jobs until they are done, leaves. See `fav.cli.node`."""

from shared.startup import checked_imports

with checked_imports():
    from fav.cli.node import node as main

__all__ = ["main"]

if __name__ == "__main__":
    main()
