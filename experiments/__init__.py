"""The commands: flags in, library calls, files out."""

import signal
import sys

# While python -m imports a command, which takes seconds, Ctrl-C ends it without a traceback.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
