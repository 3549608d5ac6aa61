"""A recipe is a TOML file that becomes a stage and a run.

    stage = "teacher"            which class trains
    steps = 3000                 and the other keys of `LoopConfig`
    [inputs]                     models it starts from: a run beside this one, a folder, or a known name
    [optimizers.student]         one table per role
    [teacher]                    the stage's own settings, in a table named like the stage
    extends = "wan-1.3b/x/dmd"   another recipe, over which this one lays its own keys
    [smoke]                      what `--budget smoke` lays over all of this

`resolve` checks all of it before anything is trained.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from causvid.config import build, merge, parse_overrides, read_toml
from causvid.data.files import straight
from causvid.errors import UserError
from causvid.generate.machine import pick_device
from causvid.models.bundle import EMBEDDED, Bundle, load_bundle
from causvid.models.vae_tiny import TinyVAE
from causvid.train import parallel
from causvid.train.encode import EncodeConfig, encode
from causvid.train.encode_videos import VideosConfig, encode_videos
from causvid.train.encoders import load_encoders
from causvid.train.runs import Run, keep_config
from causvid.train.stage import Stage
from causvid.train.trainer import LoopConfig, export_newest, train
from causvid.train.trajectories import TrajectoriesConfig, make_trajectories

BUDGETS = ("full", "smoke")

CHAINS = {
    "tiny": (
        ("train", "autoencoder"),
        ("train", "text"),
        ("encode", "latents"),
        ("train", "teacher"),
        ("trajectories", "trajectories"),
        ("train", "ode_init"),
        ("train", "student"),
    )
}
"""The stages that make a model, in order: verb and recipe."""

FAMILIES = ("wan-1.3b", "wan-14b", "tiny")
"""Folders of recipes that have every preset; a preset begins with a teacher and encoded clips."""
PRESETS = {
    "causvid-paper": ("trajectories", "ode_init", "dmd"),
    "causvid-wan": ("trajectories", "ode_init", "dmd"),
    "causvid-wan-4step": ("trajectories", "ode_init", "dmd"),
    "causvid-i2v": ("trajectories", "ode_init", "dmd"),
    "self-forcing": ("trajectories", "ode_init", "dmd"),
    "causal-forcing": ("teacher", "trajectories", "ode_init", "dmd"),
    "default-2026": ("teacher", "consistency", "dmd"),
    "longlive": ("tune",),
}
"""Published ways to make a student, and the stages of each in order."""


@dataclass(frozen=True, kw_only=True)
class Recipe(LoopConfig):
    """A resolved recipe; written to the run's `config.toml`."""

    stage: str
    inputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """The stage's own table."""


def recipes_folder() -> Path:
    return Path(str(resources.files("causvid"))) / "recipes"


def find_recipe(name: str) -> Path:
    """A recipe file by path, or one of the package by name ("tiny/teacher").

    Raises:
        UserError: there is none; the known ones are listed.
    """
    for path in (Path(name), recipes_folder() / f"{name}.toml", recipes_folder() / name):
        if path.is_file():
            return path
    known = sorted(
        str(p.relative_to(recipes_folder()).with_suffix("")) for p in recipes_folder().rglob("*.toml")
    )
    raise UserError(f"no recipe {name!r}. Give a TOML file, or one of: {', '.join(known)}.")


def read_recipe(path: Path, *, budget: str = "full", overrides: list[str] | None = None) -> dict[str, Any]:
    """The tables of a recipe with its budget and the command line's overrides laid over them."""
    if budget not in BUDGETS:
        raise UserError(f"budget is {budget!r}; accepted: {', '.join(BUDGETS)}.")
    table = _extended(path)
    smoke = table.pop("smoke", {})
    if budget == "smoke":
        table = merge(table, smoke)
    return merge(table, parse_overrides(overrides or []))


def _extended(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a recipe, laid over those of the recipe it extends."""
    table = read_toml(path)
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise UserError(f"{path.name}: extends is {base!r}; the name of a recipe is expected.")
    if path in before:
        raise UserError(f"{path.name}: it extends itself, by way of {before[-1].name}. Remove one `extends`.")
    return merge(_extended(find_recipe(base), (*before, path)), table)


def resolve(table: Mapping[str, Any], where: str) -> tuple[Recipe, Any]:
    """A recipe and its stage's configuration object, both checked."""
    table = dict(table)
    name = table.get("stage")
    kinds = _stages()
    if not isinstance(name, str) or name not in kinds:
        raise UserError(f"{where}: stage is {name!r}; accepted: {', '.join(kinds)}.")
    settings = table.pop(name, {})
    loop = {f.name for f in fields(Recipe)} - {"settings"}
    for key in table:
        if key not in loop:
            raise UserError(f"{where}: unknown key {key!r}. Valid keys: {', '.join(sorted(loop))}, [{name}].")
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}: {name} is {settings!r}; a table is expected.")
    config_class, _ = kinds[name]
    stage_config: Any = build(config_class, settings, f"{where} [{name}]")
    return build(Recipe, {**table, "settings": settings}, where), stage_config


def run_recipe(
    name: str,
    *,
    out: Path,
    budget: str = "full",
    overrides: list[str] | None = None,
    device: str = "auto",
    export_to: Path | None = None,
) -> Path:
    """Train a recipe to its end in the folder `out` and return its exported model folder.

    Inputs that name a run are looked for beside `out`. A finished run returns at once.

    Args:
        overrides: "key=value", as `parse_overrides` reads them.
        device: as `pick_device` knows it.
        export_to: train nothing; write the model of the newest checkpoint there.
    """
    path = find_recipe(name)
    recipe, stage_config = resolve(read_recipe(path, budget=budget, overrides=overrides), path.name)
    ranks = parallel.start()
    if export_to is None and (out / "export" / "model.toml").exists():
        return Run(out, recipe, ranks=ranks).export
    chosen = pick_device(device)
    inputs = {key: load_bundle(beside(out, value)) for key, value in recipe.inputs.items()}
    torch.manual_seed(recipe.seed)  # initial weights; every later number comes from a generator of its own
    stage = make_stage(recipe, stage_config, inputs, out.parent)
    run = Run(out, recipe, ranks=ranks)
    how: dict[str, Any] = {"ranks": ranks, "device": chosen, "label": path.stem}
    if export_to is not None:
        export_newest(stage, recipe, run, export_to, **how)
        return export_to
    train(stage, recipe, run, micro=micro_batch(stage_config), **how)
    return run.export


def run_encode(
    name: str, *, out: Path, budget: str = "full", overrides: list[str] | None = None, device: str = "auto"
) -> Path:
    """Encode the clips of a recipe into the folder `out`; what is there already is kept."""
    path = find_recipe(name)
    table = read_recipe(path, budget=budget, overrides=overrides)
    if "source" in table:
        return _run_encode_videos(build(VideosConfig, table, path.name), out, pick_device(device))
    config = build(EncodeConfig, table, path.name)
    ranks = parallel.start()
    vae = load_bundle(beside(out, config.vae), device=pick_device(device)).vae
    if not isinstance(vae, TinyVAE):
        raise UserError(f"{path.name}: the model {config.vae!r} has no autoencoder of our own kind.")
    if ranks.is_main:
        keep_config(out / "encode.toml", config)
    encode(config, vae, out, ranks=ranks)
    return out


def _run_encode_videos(config: VideosConfig, out: Path, device: torch.device) -> Path:
    ranks = parallel.start()
    if ranks.is_main:
        keep_config(out / "encode.toml", config)
    encoders = load_encoders(beside(out, config.vae), beside(out, config.text or config.vae), device=device)
    encode_videos(config, encoders, out, ranks=ranks)
    return out


def run_trajectories(
    name: str, *, out: Path, budget: str = "full", overrides: list[str] | None = None, device: str = "auto"
) -> Path:
    """Solve the trajectories of a recipe into the folder `out`; what is there already is kept."""
    path = find_recipe(name)
    config = build(TrajectoriesConfig, read_recipe(path, budget=budget, overrides=overrides), path.name)
    ranks = parallel.start()
    teacher = load_bundle(beside(out, config.teacher), device=pick_device(device))
    if ranks.is_main:
        keep_config(out / "trajectories.toml", config)
    make_trajectories(config, teacher, out, ranks=ranks)
    return out


def chain(name: str) -> tuple[tuple[str, str], ...]:
    """The stages of a model or of a preset, "tiny" or "tiny/self-forcing": verb and recipe.

    Raises:
        UserError: there is no such chain.
    """
    family, _, preset = name.partition("/")
    if name in CHAINS:
        return CHAINS[name]
    if family in FAMILIES and preset in PRESETS:
        return tuple(("trajectories" if s == "trajectories" else "train", s) for s in PRESETS[preset])
    presets = f"{'|'.join(FAMILIES)}/{'|'.join(PRESETS)}"
    raise UserError(
        f"nothing to reproduce is called {name!r}; accepted: {', '.join(CHAINS)}, tables, {presets}."
    )


def reproduce(name: str, *, out: Path, budget: str = "full", device: str = "auto") -> Path:
    """Run every stage of a chain, in order, into folders of `out`; finished ones are kept.

    Returns:
        The exported model folder of the last stage.

    Raises:
        UserError: there is no such chain.
    """
    made = out
    for verb, stage in chain(name):
        recipe, folder = f"{name}/{stage}", out / stage
        if verb == "train":
            made = run_recipe(recipe, out=folder, budget=budget, device=device)
        elif verb == "encode":
            run_encode(recipe, out=folder, budget=budget, device=device)
        else:
            run_trajectories(recipe, out=folder, budget=budget, device=device)
    return made


def make_stage(recipe: Recipe, stage_config: Any, inputs: dict[str, Bundle], folder: Path) -> Stage:
    """The stage a recipe names; its data are looked for in `folder`."""
    _, make = _stages()[recipe.stage]
    return make(stage_config, inputs, folder)


def micro_batch(stage_config: Any) -> int | None:
    """Samples in a share: a stage's `batch`, or its first period's; None: nobody knows."""
    periods = getattr(stage_config, "periods", None)
    found = periods[0].batch if periods else getattr(stage_config, "batch", None)
    return found if isinstance(found, int) else None


def beside(out: Path, value: str) -> str | Path:
    """The run or model folder of this name beside the folder of a run, or the name itself."""
    sibling = straight(out.parent / value)
    if value not in EMBEDDED and (sibling / "config.toml").exists() and not (sibling / "export").exists():
        raise UserError(f"the run {sibling} is not finished; run its recipe to the end first.")
    is_model = (sibling / "export").exists() or (sibling / "model.toml").exists()
    return sibling if is_model else value


def _stages() -> dict[str, tuple[type, Callable[[Any, dict[str, Bundle], Path], Stage]]]:
    from causvid.train.autoencoder import Autoencoder, AutoencoderConfig
    from causvid.train.consistency import Consistency, ConsistencyConfig
    from causvid.train.dmd import Dmd
    from causvid.train.dmd_config import DmdConfig
    from causvid.train.ode_init import OdeInit, OdeInitConfig
    from causvid.train.teacher import Teacher, TeacherConfig
    from causvid.train.text import TextConfig, TextStage
    from causvid.train.verifier import Verifier, VerifierConfig

    return {
        "autoencoder": (AutoencoderConfig, lambda config, inputs, folder: Autoencoder(config)),
        "text": (TextConfig, lambda config, inputs, folder: TextStage(config, inputs)),
        "teacher": (TeacherConfig, lambda config, inputs, folder: Teacher(config, inputs, folder=folder)),
        "ode_init": (OdeInitConfig, lambda config, inputs, folder: OdeInit(config, inputs, folder=folder)),
        "dmd": (DmdConfig, lambda config, inputs, folder: Dmd(config, inputs, folder=folder)),
        "consistency": (
            ConsistencyConfig,
            lambda config, inputs, folder: Consistency(config, inputs, folder=folder),
        ),
        "verifier": (VerifierConfig, lambda config, inputs, folder: Verifier(config, inputs)),
    }
