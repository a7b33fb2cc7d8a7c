"""Where modules and programs are looked for: never in the current directory, which may be a stranger's.

Nothing may be imported here but what Python itself has imported before.
"""

import os
import sys


def leave_out_current_directory() -> None:
    """Take the current directory off ``sys.path``, where ``python -m`` has put it first.

    There may be a ``numpy.py`` in it. A package that lies there and is being run is found nevertheless.
    """
    try:
        if os.path.samefile(sys.path[0] or os.curdir, os.curdir):
            del sys.path[0]
    except OSError:  # the directory has been deleted
        pass


def leave_out_relative_programs() -> None:
    """Take relative places off ``PATH``, for this process and its children: ``.``, and the empty name, which means it.

    There may be a ``cc`` in it, or an ``fc-list``, which matplotlib starts to find fonts.
    """
    if "PATH" in os.environ:
        places = os.environ["PATH"].split(os.pathsep)
        os.environ["PATH"] = os.pathsep.join(filter(os.path.isabs, places)) or os.defpath
