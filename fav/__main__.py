"""`python -m fav`: the same commands as `fav`. See `fav.cli.tools`."""

if __name__ == "__main__":  # the processes that a node starts import this module, too
    from fav.cli.tools import main

    main(prog_name="python -m fav")
