"""The `causvid` command: verbs, each of which calls one function.

    causvid demo
    causvid generate tiny "a red ball on the grass" -o ball.mp4

Knows how people type things and how errors reach them: a `UserError` is one line on
standard error and exit status 2, Ctrl-C is 130. Nothing heavy is imported before it is
needed: `causvid --help` does not load torch.
"""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tyro

from causvid import __version__
from causvid.commands import evaluation, footage, live, serving, tools, training, vbench, video
from causvid.commands.words import complain
from causvid.errors import UserError

DESCRIPTION = """Streaming video from a sentence: train, distil and run causal video diffusion.

Start with `causvid demo`. Every verb has its own --help. `--debug` shows where an error came from;
the variable CAUSVID_THREADS sets how many threads torch uses."""

_VERBS = (
    video.demo,
    video.generate,
    live.stream,
    footage.extend,
    footage.edit,
    serving.serve,
    tools.info,
    tools.bench,
    serving.bench_serve,
    evaluation.evaluate,
    vbench.vbench_score,
    vbench.vbench_native,
    vbench.vbench_parity,
    tools.doctor,
    training.train,
    training.bench_train,
    training.encode,
    training.trajectories,
    training.reproduce,
    tools.convert,
    tools.models,
)
_DENIED = "permission denied"
_REASONS = {errno.EACCES: _DENIED, errno.EPERM: _DENIED, errno.EROFS: "its disk is read-only"}
_RESUMABLE = ("train", "encode", "trajectories", "reproduce", "evaluate")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: what was typed after `causvid`; None takes the process's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words[:2] in (["bench", "train"], ["bench", "serve"]):
        words[:2] = ["-".join(words[:2])]
    if words[:1] == ["--version"]:
        print(f"causvid {__version__}")
        return 0
    try:
        verbs = {verb.__name__.replace("_", "-"): verb for verb in _VERBS}
        with _no_press_is_lost():
            tyro.extras.subcommand_cli_from_dict(
                verbs,
                prog="causvid",
                description=DESCRIPTION,
                args=words or ["--help"],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        exec("")  # Python, interrupted within an `exec`, would else end by the signal and not with 130
        resumable = words[0] in _RESUMABLE or "--prompts-file" in words
        advice = "run the same command again to continue" if resumable else "nothing was written"
        complain(f"interrupted; {advice}")
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; without this the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        message = _for_people(error)
        if debug or message is None:
            traceback.print_exc()
        if message is None:
            return 1
        complain(message)
        return 2


@contextmanager
def _no_press_is_lost() -> Iterator[None]:
    """What Ctrl-C raises while a library calls back, or an object is deleted, is dropped: press again."""
    before = sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        main_thread = threading.main_thread().ident
        timer = threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _for_people(error: Exception) -> str | None:
    """The one line of an error that is not a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    for cause in _chain(error):
        if (isinstance(cause, OSError) and cause.errno in full) or "No space left on device" in str(cause):
            where = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk is full{where}; free some space and run the same command again."
        if isinstance(cause, OSError) and cause.errno in _REASONS and cause.filename:
            return (
                f"{cause.filename} cannot be read or written: {_REASONS[cause.errno]}. Choose another place."
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
