"""Run a module as a command that ends with the process that started it, even by SIGKILL.

    python -m experiments.child stages.train_student

Else a stage of a sweep that was killed would go on, unseen, beside the sweep that is started
again. The starter holds the other end of this process's standard input: when that end closes,
the starter is gone.
"""

import os
import runpy
import sys
import threading


def main() -> None:
    """Run the module that the first argument names, with the arguments after it."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    # Not through sys.stdin: its lock would be held while the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
