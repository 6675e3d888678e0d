"""Pictures in a row as one PNG; the end of `make demo`.

    python -m tools.side_by_side examples/face.png demo.png demo-before-after.png

The last name is the file that is written.
"""

from __future__ import annotations

import sys

from seedcli.data.images.images import save_image
from seedcli.data.images.terminal import side_by_side
from seedcli.errors import SeedError

if __name__ == "__main__":
    *pictures, output = sys.argv[1:]
    try:
        save_image(side_by_side(pictures), output)
    except SeedError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
