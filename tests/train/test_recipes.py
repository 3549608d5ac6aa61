"""Recipes: all of the package resolve, and a mistake in one is one clear line."""

import pytest
from tiny_training import encoded_clips

from causvid.config import build, plain, read_toml, to_toml
from causvid.errors import UserError
from causvid.train.encode import EncodeConfig
from causvid.train.encode_videos import VideosConfig
from causvid.train.recipe import (
    BUDGETS,
    CHAINS,
    Recipe,
    find_recipe,
    read_recipe,
    recipes_folder,
    reproduce,
    resolve,
    run_encode,
    run_recipe,
)
from causvid.train.text import TextConfig
from causvid.train.trajectories import TrajectoriesConfig

ALL = sorted(str(p.relative_to(recipes_folder()).with_suffix("")) for p in recipes_folder().rglob("*.toml"))
SMALL = ["text.batch=4", "text.width=16", "text.heads=2", "text.layers=1"]


def configured(name, budget):
    """What a recipe resolves to, whichever verb it is for."""
    table = read_recipe(find_recipe(name), budget=budget)
    if "stage" in table:
        return resolve(table, name)
    kinds = {"sigmas": TrajectoriesConfig, "source": VideosConfig, "seed": EncodeConfig}
    return (build(next(kind for key, kind in kinds.items() if key in table), table, name),)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", ALL)
def test_every_recipe_of_the_package_resolves_and_reads_back_as_written(tmp_path, name, budget):
    for config in configured(name, budget):
        (tmp_path / "config.toml").write_text(to_toml(config))

        assert build(type(config), read_toml(tmp_path / "config.toml"), name) == config


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_opens_with_its_command(name):
    text = (recipes_folder() / f"{name}.toml").read_text()

    assert text.startswith("# ") and f" {name}" in text


@pytest.mark.parametrize("name", ALL)
def test_a_smoke_budget_is_a_few_steps_with_a_preview(name):
    for config in configured(name, "smoke"):
        if isinstance(config, Recipe):
            assert config.steps <= 20 and config.checkpoint_every <= config.steps


def test_every_stage_of_a_chain_is_a_recipe_and_leads_to_the_next():
    for name, stages in CHAINS.items():
        made = set()
        for _, stage in stages:
            table = read_recipe(find_recipe(f"{name}/{stage}"))
            named = [*table.get("inputs", {}).values(), table.get("vae"), table.get("teacher")]
            needs = {model for model in named if isinstance(model, str)}
            assert needs <= made, f"{stage} comes before {needs - made}"
            made.add(stage)


def mistaken(**changes):
    table = read_recipe(find_recipe("tiny/text")) | changes
    with pytest.raises(UserError) as error:
        resolve(table, "text.toml")
    assert "\n" not in str(error.value) and str(error.value).startswith("text.toml")
    return str(error.value)


def test_an_unknown_key_is_named_with_the_valid_ones():
    message = mistaken(stpes=3)

    assert "unknown key 'stpes'. Valid keys: " in message
    assert "steps" in message and "[text]" in message


def test_an_unknown_key_of_the_stage_is_named_with_a_suggestion():
    assert "text.toml [text]: unknown key 'widht'. Did you mean 'width'?" in mistaken(text={"widht": 3})


@pytest.mark.parametrize("stage", ["txet", None, 3, []])
def test_an_unknown_stage_is_named_with_the_known_ones(stage):
    assert "accepted: autoencoder, text, teacher, ode_init, dmd" in mistaken(stage=stage)


def test_a_stage_that_is_no_table_is_refused():
    assert "text is 3; a table is expected" in mistaken(text=3)


def test_a_role_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"this stage trains \['text'\]"):
        run_recipe(
            "tiny/text", out=tmp_path / "run", overrides=[*SMALL, "optimizers.critic.lr=1"], device="cpu"
        )


def test_a_recipe_nobody_knows_is_answered_with_the_known_ones():
    with pytest.raises(
        UserError, match=r"no recipe 'tiny/techer'. Give a TOML file, or one of: .*tiny/teacher"
    ):
        find_recipe("tiny/techer")


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.toml").write_text((recipes_folder() / "tiny" / "text.toml").read_text())

    assert find_recipe(str(tmp_path / "mine.toml")) == tmp_path / "mine.toml"


def test_a_budget_nobody_knows_is_refused():
    with pytest.raises(UserError, match="budget is 'tiny'; accepted: full, smoke"):
        read_recipe(find_recipe("tiny/text"), budget="tiny")


def test_an_override_beats_the_budget_and_the_budget_the_recipe():
    path = find_recipe("tiny/text")
    table = read_recipe(path, budget="smoke", overrides=["steps=7", "text.width=16", "optimizers.text.lr=1"])

    recipe, stage = resolve(table, path.name)

    assert recipe.steps == 7 and stage == TextConfig(width=16, batch=16)
    assert recipe.optimizers["text"].lr == 1 and recipe.optimizers["text"].decay == "cosine"


def test_a_finished_run_returns_at_once_and_refuses_another_configuration(tmp_path):
    how = {"out": tmp_path / "text", "budget": "smoke", "device": "cpu"}
    first = run_recipe("tiny/text", overrides=[*SMALL, "steps=2"], **how)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "text").rglob("*")}

    assert run_recipe("tiny/text", overrides=[*SMALL, "steps=2"], **how) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "text").rglob("*")} == before
    with pytest.raises(UserError, match="steps is 2 there and 3 here"):
        run_recipe("tiny/text", overrides=[*SMALL, "steps=3"], **how)


def test_an_input_that_is_not_finished_is_named(tmp_path):
    (tmp_path / "autoencoder").mkdir()
    (tmp_path / "autoencoder" / "config.toml").touch()

    with pytest.raises(UserError, match=r"the run .*autoencoder is not finished; run its recipe to the end"):
        run_recipe("tiny/teacher", out=tmp_path / "teacher", device="cpu")
    with pytest.raises(UserError, match="is not finished"):
        run_encode("tiny/latents", out=tmp_path / "latents", device="cpu")
    assert not (tmp_path / "teacher").exists()


def test_an_input_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match="no model 'autoencoder'"):
        run_recipe("tiny/teacher", out=tmp_path / "teacher", device="cpu")


def test_a_chain_nobody_knows_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"nothing to reproduce is called 'tiny/huge'; accepted: tiny, tables, .*causvid-paper",
    ):
        reproduce("tiny/huge", out=tmp_path)
    with pytest.raises(UserError, match="nothing to reproduce is called 'huge'"):
        reproduce("huge", out=tmp_path)


def test_a_device_that_is_not_here_is_refused(tmp_path):
    with pytest.raises(UserError, match="device 'abacus' cannot be used here"):
        run_recipe("tiny/text", out=tmp_path / "text", device="abacus")
    assert not (tmp_path / "text").exists()


@pytest.mark.parametrize("changes", [{"clips": 5}, {"batch": 3}, {"clips": 0}])
def test_clips_that_do_not_fill_shards_and_batches_are_refused(changes):
    standard = {"clips": 4, "clips_per_shard": 2, "batch": 2}

    with pytest.raises(UserError, match="each must be a positive multiple of the next"):
        EncodeConfig(**{**standard, **changes})


def test_what_a_folder_of_clips_was_made_of_is_written_beside_them(tmp_path):
    config = encoded_clips(tmp_path)

    assert plain(build(EncodeConfig, read_toml(tmp_path / "encode.toml"), "encode.toml")) == plain(config)


def written(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_a_recipe_that_extends_another_lays_its_keys_over_it(tmp_path):
    middle = written(tmp_path, "middle.toml", 'extends = "tiny/text"\nsteps = 9\n[smoke]\nlog_every = 2\n')
    top = written(tmp_path, "top.toml", f'extends = "{middle}"\n[text]\nwidth = 16\n')

    base, mine = read_recipe(find_recipe("tiny/text")), read_recipe(top)
    assert mine == base | {"steps": 9, "text": base["text"] | {"width": 16}}
    smoke = read_recipe(top, budget="smoke")
    assert smoke["log_every"] == 2 and smoke["text"]["width"] == 16
    assert smoke["steps"] == read_recipe(find_recipe("tiny/text"), budget="smoke")["steps"]


def test_recipes_that_extend_one_another_in_a_circle_are_refused(tmp_path):
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    written(tmp_path, "one.toml", f'extends = "{other}"')
    written(tmp_path, "other.toml", f'extends = "{one}"')

    with pytest.raises(UserError, match=r"one\.toml: it extends itself, by way of other\.toml"):
        read_recipe(one)
    with pytest.raises(UserError, match=r"extends is 3; the name of a recipe"):
        read_recipe(written(tmp_path, "three.toml", "extends = 3"))
