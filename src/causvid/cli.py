"""The `causvid` command: verbs, each of which calls one function.

    causvid demo
    causvid generate tiny "a red ball on the grass" -o ball.mp4

Knows how people type things and how errors reach them: a `UserError` is one line on
standard error and exit status 2, Ctrl-C is 130. Nothing heavy is imported before it is
needed: `causvid --help` does not load torch.
"""

import errno
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

from causvid import __version__
from causvid.errors import UserError

DESCRIPTION = """Streaming video from a sentence: train, distil and run causal video diffusion.

Start with `causvid demo`. Every verb has its own --help. `--debug` shows where an error came from;
the variable CAUSVID_THREADS sets how many threads torch uses."""

ModelName = Annotated[
    Positional[str],
    arg(
        metavar="MODEL",
        help="a known name (tiny, or see `causvid models list`), a folder, a checkpoint, or a run",
    ),
]
RecipeName = Annotated[
    Positional[str], arg(metavar="RECIPE", help="a TOML file, or one of the package such as tiny/teacher")
]
Budget = Annotated[Literal["full", "smoke"], arg(help="smoke is a minute's walk through the same code")]
Folder = Annotated[Path | None, arg(help="where; runs/RECIPE by default", metavar="DIR")]
Overrides = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(name="set", metavar="KEY=VALUE", help="change a key of the recipe; may be given several times"),
]
Device = Annotated[str, arg(help="auto, cpu, cuda ...")]
Base = Annotated[
    str | None,
    arg(help="for a checkpoint (.pt): the model with the autoencoder and the text encoder", metavar="MODEL"),
]
AsJson = Annotated[bool, arg(name="json", help="print one JSON object")]


def demo(*, out: Path = Path()) -> None:
    """Stream ten seconds from the embedded model, changing the prompt half-way.

    Args:
        out: folder for causvid-demo.mp4 and causvid-demo.png.
    """
    from causvid.demo import run_demo

    run_demo(out)


def generate(
    model: ModelName,
    prompt: Annotated[Positional[str], arg(metavar="PROMPT")],
    /,
    *,
    seconds: float | None = None,
    seed: int = 0,
    image: Path | None = None,
    prompt_at: Annotated[UseAppendAction[tuple[tuple[float, str], ...]], arg(metavar="SECONDS PROMPT")] = (),
    transition: Literal["soft", "recache"] = "soft",
    size: Annotated[str | None, arg(metavar="HxW")] = None,
    scale: int | None = None,
    device: Device = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
    base: Base = None,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out.mp4"),
) -> None:
    """Make a video of a prompt and write it while it grows.

    Args:
        prompt: what the video shows.
        seconds: how long; 10 by default, or what a bidirectional model was trained on.
        seed: the same seed gives the same video.
        image: a JPEG, PNG or WebP to start from; it is cropped to the video's shape.
        prompt_at: another prompt from a moment on; may be given several times.
        transition: whether a new prompt leaves the past as it was, or reads it again.
        size: height and width in pixels; by default what the model was trained at.
        scale: enlarge the pictures by a whole number; by default what is comfortable to watch.
        dtype: of the network's matrix products.
        out: where; .mp4, .gif, .webp, or .png for a contact sheet.
    """
    import torch

    from causvid.data.images import read_image
    from causvid.generate.pipeline import load, use_threads
    from causvid.recording import record

    pixels = _size(size)
    if len(dict(prompt_at)) < len(prompt_at):
        raise UserError("two prompts are to begin at the same moment; give each --prompt-at its own.")
    pipeline = load(model, device=device, dtype=getattr(torch, dtype), base=base)
    use_threads(pipeline)
    prompts = [prompt, *(text for _, text in prompt_at)]
    _warn_of_unknown_words([word for text in prompts for word in pipeline.unknown_words(text)])
    start = None if image is None else read_image(image, size=pixels or pipeline.spec.size)
    made = record(
        pipeline,
        prompt,
        out,
        seconds=seconds,
        seed=seed,
        image=start,
        prompts_at=dict(prompt_at),
        transition=transition,
        size=pixels,
        scale=scale,
        facts=None if image is None else {"image": image.name},
    )
    print(made)


def info(what: Annotated[Positional[str], arg(metavar="MODEL|FILE")], /, *, as_json: AsJson = False) -> None:
    """Say what a model is, or how a clip was made.

    Args:
        what: a known model name, a model folder, or a clip that causvid wrote.
    """
    from causvid.description import describe

    _show(describe(what), as_json=as_json)


def bench(
    model: ModelName,
    /,
    *,
    seconds: float = 10.0,
    repeats: int = 3,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a student against its 50-step guided teacher, in one run on this machine.

    Args:
        seconds: length of the clip.
        repeats: how often each is measured; medians are reported.
    """
    from causvid.evaluate.speed import compare, lines

    measured = compare(model, seconds=seconds, repeats=repeats, device=device)
    print(json.dumps(measured, indent=2) if as_json else "\n".join(lines(measured)))


def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine and this installation."""
    from causvid.doctor import examine

    _show(examine(), as_json=as_json)


def train(
    recipe: RecipeName,
    /,
    *,
    out: Folder = None,
    budget: Budget = "full",
    overrides: Overrides = (),
    device: Device = "auto",
) -> None:
    """Train a recipe to its end; stop it anywhere and run the same command again to go on."""
    from causvid.train.recipe import run_recipe

    folder = out or _run_folder(recipe)
    print(run_recipe(recipe, out=folder, budget=budget, overrides=list(overrides), device=device))


def encode(
    recipe: RecipeName, /, *, out: Folder = None, budget: Budget = "full", overrides: Overrides = ()
) -> None:
    """Encode the clips of a recipe into latents; what is there already is kept."""
    from causvid.train.recipe import run_encode

    print(run_encode(recipe, out=out or _run_folder(recipe), budget=budget, overrides=list(overrides)))


def trajectories(
    recipe: RecipeName, /, *, out: Folder = None, budget: Budget = "full", overrides: Overrides = ()
) -> None:
    """Solve a teacher's trajectories for a student to start from; what is there already is kept."""
    from causvid.train.recipe import run_trajectories

    print(run_trajectories(recipe, out=out or _run_folder(recipe), budget=budget, overrides=list(overrides)))


def reproduce(
    name: Annotated[Positional[str], arg(metavar="NAME", help="tiny")],
    /,
    *,
    out: Annotated[Path | None, arg(help="where; runs/NAME by default", metavar="DIR")] = None,
    budget: Budget = "full",
    device: Device = "auto",
) -> None:
    """Run every stage of a model, in order; finished ones are kept."""
    from causvid.train.recipe import reproduce as run_chain

    print(run_chain(name, out=out or Path("runs") / name, budget=budget, device=device))


def convert(
    source: Annotated[
        Positional[str], arg(metavar="SRC", help="a known name, a folder, a checkpoint, or a training run")
    ],
    target: Annotated[Positional[Path], arg(metavar="DST", help="the folder to write")],
    /,
    *,
    layout: Literal["ours", "diffusers", "original"] = "ours",
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = "keep",
    part: Literal["transformer", "vae", "text"] | None = None,
    name: str | None = None,
    base: Base = None,
) -> None:
    """Copy a model into a folder of its own, in the layout of this program or of another.

    Args:
        layout: ours, that of diffusers, or that of Wan's release.
        dtype: how its matrices are stored; bfloat16 takes half the space of float32.
        part: write this part alone.
        name: what the copy calls itself; its old name by default.
    """
    import torch

    from causvid.models.convert import convert as copy

    stored = None if dtype == "keep" else getattr(torch, dtype)
    print(copy(source, target, layout=layout, dtype=stored, part=part, name=name, base=base))


def models(
    action: Annotated[Positional[Literal["list", "pull", "verify"]], arg(metavar="list|pull|verify")],
    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """List the models known by name, fetch one, or check what was fetched.

    Args:
        action: pull is the only thing that uses the network.
        name: of the model to fetch or check.
    """
    from causvid.weights.hub import act

    _show(act(action, name, say=_complain), as_json=as_json)


_VERBS = (demo, generate, info, bench, doctor, train, encode, trajectories, reproduce, convert, models)
_RESUMABLE = ("train", "encode", "trajectories", "reproduce")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: what was typed after `causvid`; None takes the process's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words[:1] == ["--version"]:
        print(f"causvid {__version__}")
        return 0
    try:
        verbs = {verb.__name__: verb for verb in _VERBS}
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
        resumable = words[0] in _RESUMABLE
        advice = "run the same command again to continue" if resumable else "nothing was written"
        _complain(f"interrupted; {advice}")
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
        _complain(message)
        return 2


def _for_people(error: Exception) -> str | None:
    """The one line of an error that is not a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    for cause in _chain(error):
        if (isinstance(cause, OSError) and cause.errno in full) or "No space left on device" in str(cause):
            where = f" ({cause.filename})" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk is full{where}; free some space and run the same command again."
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _complain(message: str) -> None:
    print(f"causvid: {message}", file=sys.stderr, flush=True)


def _warn_of_unknown_words(words: Sequence[str]) -> None:
    if words:
        _complain(f"the model does not know {', '.join(map(repr, dict.fromkeys(words)))}; it will guess.")


def _size(text: str | None) -> tuple[int, int] | None:
    """HxW as two numbers."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"size is {text!r}; give height x width in pixels, such as 64x64.")
    return int(height), int(width)


def _run_folder(recipe: str) -> Path:
    """runs/tiny/teacher for the recipe tiny/teacher, runs/mine for ../mine.toml."""
    return Path("runs") / (Path(recipe).stem if recipe.endswith(".toml") else recipe)


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"{name:{width}}  {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
