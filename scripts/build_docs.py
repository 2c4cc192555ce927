"""Build the API reference into the folder given."""

import sys
from pathlib import Path

import pdoc
import pdoc.render

import headstart


def main() -> None:
    """Load the public names, which come lazily, so that pdoc finds them; then render."""
    for name in headstart.__all__:
        getattr(headstart, name)
    pdoc.render.configure(docformat="numpy")
    pdoc.pdoc("headstart", output_directory=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
