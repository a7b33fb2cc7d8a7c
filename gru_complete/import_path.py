"""Where Python looks for modules when this package is run as ``python -m``.

Nothing may be imported here but what Python itself has imported before.
"""

import os
import sys


def leave_out_current_directory() -> None:
    """Take the current directory off ``sys.path``, where ``python -m`` has put it first.

    It may be a stranger's, and have a ``numpy.py`` in it. A package that lies there is found nevertheless.
    """
    try:
        if os.path.samefile(sys.path[0] or os.curdir, os.curdir):
            del sys.path[0]
    except OSError:  # the directory has been deleted
        pass
