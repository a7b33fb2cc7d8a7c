"""Where the process starts, as ``gru-complete`` and as ``python -m gru_complete``."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the current directory first, which may be a stranger's, with a numpy.py in it. Nothing
    # may be imported before this but what Python itself has imported.
    try:
        if os.path.samefile(sys.path[0], os.curdir):
            del sys.path[0]
    except OSError:
        pass

from gru_complete.cli.loading import no_garbage_collection


def main() -> None:
    """The console script ``gru-complete``."""
    with no_garbage_collection():
        from gru_complete.cli import app
    app.main()


if __name__ == "__main__":
    main()
