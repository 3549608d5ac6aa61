"""A configuration is a TOML file read into frozen dataclasses, strict both ways.

Field default < recipe file < flag. A key nobody reads is an error that names the
valid ones; a value of the wrong type is an error that names the right one. What was
resolved can be written back with `to_toml` and reads as the same object.

This module knows nothing about which configurations exist.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import tomli_w

from causvid.errors import UserError

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error


def build(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Make the dataclass `cls` from plain values.

    Args:
        cls: a dataclass type; its annotations decide what is accepted.
        data: what a TOML file or a JSON object holds.
        where: how to call this place in an error, for example "dmd.toml [teacher]".

    Raises:
        UserError: an unknown key, a missing one, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(f"{where}: unknown key {key!r}.{hint} Valid keys: {', '.join(known)}.")
    values = {}
    for name, f in known.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}, key {name!r}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{where}: the key {name!r} is missing.")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        problems = []
        for option in args:
            if option is type(None):
                continue
            try:
                return _convert(option, value, where)
            except UserError as error:
                problems.append(str(error))
        raise UserError(problems[-1])
    if origin is Literal:
        if value in args:
            return value
        raise UserError(f"{where} is {value!r}; accepted: {', '.join(map(repr, args))}.")
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if isinstance(value, Mapping):
            return build(hint, value, where)
        raise UserError(f"{where} is {value!r}; a table is expected.")
    if origin in (tuple, list):
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
            raise UserError(f"{where} is {value!r}; a list is expected.")
        if origin is tuple and args[-1:] != (Ellipsis,) and len(args) != len(value):
            raise UserError(f"{where} has {len(value)} entries; {len(args)} are expected.")
        kinds = [args[0]] * len(value) if origin is list or args[-1] is Ellipsis else args
        return origin(_convert(k, v, where) for k, v in zip(kinds, value, strict=True))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is {value!r}; a table is expected.")
        return (
            dict(value) if not args else {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if (
        hint is Any
        or (isinstance(hint, type) and type(value) is hint)
        or (hint is Path and isinstance(value, Path))
    ):
        return value
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    raise UserError(f"{where} is {value!r}; {name} is expected.")


def plain(config: Any) -> Any:
    """Dataclasses, tuples and paths as the dicts, lists and strings TOML and JSON hold. None is left out."""
    if is_dataclass(config) and not isinstance(config, type):
        items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
        return {name: plain(value) for name, value in items if value is not None}
    if isinstance(config, Mapping):
        return {str(k): plain(v) for k, v in config.items() if v is not None}
    if isinstance(config, (list, tuple)):
        return [plain(v) for v in config]
    if isinstance(config, Path):
        return str(config)
    return config


def to_toml(config: Any) -> str:
    """A dataclass or a table as TOML text; `build` of it gives an equal object back."""
    return tomli_w.dumps(plain(config))


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`["optimizer.lr=1e-4", "steps=10"]` as nested tables, values in TOML's own syntax.

    Raises:
        UserError: a pair without "=", or one key as a value and as a table.
    """
    tables: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UserError(f"override {pair!r} is not of the form key=value.")
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string: --set student_input=rollout
        table = tables
        *parents, last = name.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UserError(f"override {pair!r}: {parent!r} has a value already, so it is not a table.")
        table[last] = value
    return tables


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `over` laid over it, key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
