"""How the threads of the numerical libraries behave: read from the environment when these are imported.

Nothing may be imported here that takes time.
"""

import os
import sys


def set_thread_defaults() -> None:
    """Let no thread keep a processor busy that others want, unless the user's environment says otherwise.

    On a busy machine the thread that is waited for needs the processor, so torch's threads sleep while they wait for
    each other. Numpy's products here are too small to gain from more than one thread; on ARM, where torch uses the same
    library, their number is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "win32" or os.uname().machine == "x86_64":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
