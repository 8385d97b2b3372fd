"""`python -m fav`: the single steps of stylizing a video. See `fav.cli.tools`."""

from fav.cli.tools import main

if __name__ == "__main__":
    main(prog_name="python -m fav")
