"""Configurations: strict both ways, and what is written reads as the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from causvid.config import build, merge, parse_overrides, plain, read_toml, to_toml
from causvid.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    lr: float
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int
    mode: Literal["data", "rollout"] = "data"
    sigmas: tuple[float, ...] = ()
    name: str | None = None
    resume: bool = False
    folder: Path = Path("runs")
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(lr=0.1))
    roles: dict[str, Optimizer] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def refused(data):
    with pytest.raises(UserError) as error:
        build(Settings, data, "here.toml")
    assert "\n" not in str(error.value) and str(error.value).startswith("here.toml")
    return str(error.value)


def test_defaults_fill_what_is_not_said():
    assert build(Settings, {"steps": 3}, "here.toml") == Settings(steps=3)


def test_an_unknown_key_is_named_with_a_suggestion_and_the_valid_ones():
    message = refused({"steps": 3, "stpes": 4})

    assert "unknown key 'stpes'. Did you mean 'steps'? Valid keys: steps, mode, sigmas" in message


def test_an_unknown_key_in_a_table_is_found_where_it_is():
    message = refused({"steps": 3, "roles": {"critic": {"lr": 0.1, "beta": 1}}})

    assert "key 'roles'.critic: unknown key 'beta'. Did you mean 'betas'?" in message


def test_a_missing_key_is_named():
    assert "the key 'steps' is missing" in refused({})
    assert "key 'optimizer': the key 'lr' is missing" in refused({"steps": 1, "optimizer": {}})


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("steps", 1.5, "is 1.5; int is expected"),
        ("steps", "3", "is '3'; int is expected"),
        ("steps", True, "is True; int is expected"),
        ("resume", 1, "is 1; bool is expected"),
        ("name", 3, "is 3; str is expected"),
        ("mode", "simulated", "is 'simulated'; accepted: 'data', 'rollout'"),
        ("mode", ["data"], "is ['data']; accepted: 'data', 'rollout'"),
        ("sigmas", 0.5, "is 0.5; a list is expected"),
        ("sigmas", "0.5", "is '0.5'; a list is expected"),
        ("sigmas", [0.5, "x"], "is 'x'; float is expected"),
        ("optimizer", 3, "is 3; a table is expected"),
        ("optimizer", {"lr": 1, "betas": [0.9]}, "has 1 entries; 2 are expected"),
        ("optimizer", {"lr": True}, "is True; float is expected"),
        ("roles", [], "is []; a table is expected"),
    ],
)
def test_a_value_of_the_wrong_type_is_shown_with_the_right_one(key, value, complaint):
    message = refused({"steps": 1, key: value})

    assert f"key {key!r}" in message and complaint in message


def test_whole_numbers_are_accepted_where_numbers_are_asked_for():
    lr = build(Settings, {"steps": 1, "optimizer": {"lr": 1}}, "here.toml").optimizer.lr

    assert lr == 1.0 and type(lr) is float


def test_what_is_written_reads_as_the_same_object(tmp_path):
    settings = Settings(
        steps=3,
        mode="rollout",
        sigmas=(1.0, 0.25),
        folder=tmp_path / "ä b",
        roles={"critic": Optimizer(lr=1e-5)},
        notes={"why": 'a "test"\n', "list": [1, 2], "none": None},
    )
    (tmp_path / "settings.toml").write_text(to_toml(settings), encoding="utf-8")

    read = build(Settings, read_toml(tmp_path / "settings.toml"), "settings.toml")

    assert plain(read) == plain(settings)
    assert read.roles == settings.roles and read.folder == settings.folder and read.name is None


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(UserError, match="cannot be read"):
        read_toml(tmp_path)


@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_one_clear_line(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)

    with pytest.raises(UserError, match="is not valid TOML"):
        read_toml(tmp_path / "bad.toml")


def test_overrides_become_nested_tables_with_tomls_own_values():
    pairs = ["optimizers.critic.lr=1e-4", "optimizers.critic.ema=0.9", "steps=10", "mode=rollout"]
    expected = {"optimizers": {"critic": {"lr": 1e-4, "ema": 0.9}}, "steps": 10, "mode": "rollout"}

    assert parse_overrides(pairs) == expected
    assert parse_overrides(["sigmas=[1.0, 0.5]", 'name="3"', "resume=true", "note=a=b"]) == {
        "sigmas": [1.0, 0.5],
        "name": "3",
        "resume": True,
        "note": "a=b",
    }


@pytest.mark.parametrize("pair", ["steps", "=3"])
def test_an_override_without_a_key_or_a_value_is_refused(pair):
    with pytest.raises(UserError, match="is not of the form key=value"):
        parse_overrides([pair])


def test_a_key_cannot_be_a_value_and_a_table():
    with pytest.raises(UserError, match="'lr' has a value already, so it is not a table"):
        parse_overrides(["lr=1", "lr.warmup=2"])


def test_merging_goes_key_by_key_and_changes_neither_table():
    base, over = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "c": 5}

    assert merge(base, over) == {"a": {"x": 1, "y": 4}, "b": 3, "c": 5}
    assert base == {"a": {"x": 1, "y": 2}, "b": 3} and over == {"a": {"y": 4}, "c": 5}
    assert merge(base, {"a": 7}) == {"a": 7, "b": 3}
