"""What tests of the command share."""

import os
import subprocess
import sys
from pathlib import Path

import causvid

SOURCE = str(Path(causvid.__file__).parents[1])
MAKE = ("generate", "student")


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.is_symlink())


def in_a_process(*words, **how):
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], env=environment, **{**pipes, **how})
