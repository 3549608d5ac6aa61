"""Replay recorded outputs of the public code and say how far ours are from them.

    python tests/conformance.py tests/reference

One line a case: its name, the error (relative L2; the largest difference for solvers),
the tolerance, and ok, FAIL or skipped. Exits with 1 if a case failed, and with 2 if there
was nothing to replay. Any folder in the format of tests/reference/README.md will do: sizes
come from the files. Files are told apart by what they hold, not by their names.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from replays import levels, maps, network, text, training, vae
from replays.folder import Case, Cases, Folder, Recording

LATER = "a later version covers it"

KINDS: tuple[tuple[str, Callable[[Recording, Folder], Cases]], ...] = (
    ("train1000.sigmas", levels.schedule),
    (".trajectory", levels.solvers),
    (".used", levels.draws),
    (".step_list", training.clip_samplers),
    ("generator.grad_norms", training.training_steps),
    ("generator_input", training.student_input),
    ("kl_grad", training.distribution_matching),
    ("chunk0.cache.input", network.cached),
    ("output_bf16", network.precision),
    ("teacher_forcing.output", network.masked_training),
    ("local.output", network.masked_training),
    ("timestep_free", network.causal_training),
    ("output_t_rounded", network.bidirectional),
    ("output_raw", text.umt5),
    ("decode.latents", vae.whole),
    (".chunk0", vae.streamed),
    ("decoder.conv1.weight", vae.weights),
    ("decoder.conv_in.weight", vae.weights),
    (".modulation", network.weights),
    ("scale_shift_table", network.weights),
)
"""What a file holds (the end of a tensor's name), and what replays it; the first match counts."""


def replay(folder: Folder) -> Iterator[Case]:
    """All cases of a folder, file by file."""
    for file in folder.recordings():
        yield from _guarded(file.name, lambda file=file: _replayer(file)(file, folder))
    yield from _guarded("keys", lambda: maps.key_maps(folder))
    yield from _guarded("MANIFEST.json", lambda: _missing(folder))


def _guarded(name: str, cases: Callable[[], Cases]) -> Cases:
    """An error is a failure of this one, and the others go on."""
    try:
        yield from cases()
    except Exception as error:
        yield Case(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}", float("inf"), 0.0)


def _replayer(file: Recording) -> Callable[[Recording, Folder], Cases]:
    for ending, replayer in KINDS:
        if file.having(ending):
            return replayer
    return _skipped


def _skipped(file: Recording, folder: Folder) -> Cases:
    yield Case(file.name, skipped=LATER)


def _missing(folder: Folder) -> Iterator[Case]:
    """Files that a manifest promises and that are not there."""
    manifest = folder.path / "MANIFEST.json"
    if manifest.exists():
        for name in json.loads(manifest.read_text(encoding="utf-8")):
            if name.endswith(".safetensors") and not (folder.path / name).exists():
                yield Case(f"{name}: in MANIFEST.json, but missing", float("inf"), 0.0)


def line(case: Case) -> str:
    """A case as one line."""
    if case.skipped:
        return f"{case.name:<64} {'-':>9} {'-':>9}  skipped: {case.skipped}"
    return f"{case.name:<64} {case.error:>9.2e} {case.tolerance:>9.0e}  {'FAIL' if case.failed else 'ok'}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python tests/conformance.py DIR, a folder of recordings (tests/reference is one)")
        return 2
    folder = Folder(Path(arguments[0]))
    if not folder.recordings():
        print(f"{folder.path} holds no .safetensors recordings; tests/reference is a folder that does.")
        return 2
    torch.set_num_threads(1)
    compared = failed = skipped = 0
    for case in replay(folder):
        print(line(case), flush=True)
        compared += not case.skipped
        failed += case.failed
        skipped += bool(case.skipped)
    print(f"{compared} compared, {failed} failed, {skipped} skipped")
    if not compared:
        print(f"nothing in {folder.path} could be replayed.")
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
