"""The floors of the package, held: imports point down only.

Somebody who wants to understand `serve` never has to open `train`. The list below is
the one in docs/architecture.md; a new module gets its floor here first.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import causvid

PACKAGE = Path(causvid.__file__).parent

FLOORS = {
    0: {"errors", "types", "config", "progress", "pixels"},
    1: {"flow"},
    2: {"nn"},
    3: {"models", "weights"},
    4: {"generate"},
    5: {"data"},
    6: {"train", "evaluate", "serve", "recording", "description", "doctor"},
    7: {"commands", "demo"},
    8: {"cli"},
    9: {"__init__", "__main__"},
}
FLOOR_OF = {part: floor for floor, parts in FLOORS.items() for part in parts}
SIBLINGS = FLOORS[6]

ORDER_INSIDE = {
    "nn": ["rope", "cache", "attention", "transformer"],
    "generate": [
        *("rollout", "inputs", "pictures", "machine", "prompts", "edit", "extend", "state", "past"),
        *("setting", "segments", "chunk", "session", "timeline", "pipeline"),
    ],
    "models": ["spec", "bundle"],
}
"""Within a floor, a module of this list imports only those before it."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> tuple[str, ...]:
    """nn/cache.py is ("nn", "cache"), nn/__init__.py is ("nn",), the package's own is ("__init__",)."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports_of(path: Path) -> set[tuple[str, ...]]:
    """What a module takes from this package, wherever in the file, as names like `name_of` gives."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {from_import(path, node, alias.name) for alias in node.names}
    return {parts[1:] or ("__init__",) for parts in found if parts[0] == "causvid"} - {("__version__",)}


def from_import(path: Path, node: ast.ImportFrom, name: str) -> tuple[str, ...]:
    base = tuple(node.module.split(".")) if node.module else ()
    if node.level:
        folder = ("causvid", *path.relative_to(PACKAGE).parts[:-1])
        base = folder[: len(folder) - node.level + 1] + base
    if base == ("causvid",):
        is_part = name in FLOOR_OF or name == "__version__"
        return ("causvid", name) if is_part else ("causvid", "__init__")
    below = PACKAGE.joinpath(*base[1:]) / name
    is_module = below.is_dir() or below.with_suffix(".py").exists()
    return (*base, name) if is_module else base


def problems_in(path: Path) -> list[str]:
    me, found = name_of(path), []
    for other in imports_of(path):
        mine, theirs = FLOOR_OF[me[0]], FLOOR_OF.get(other[0])
        what = f"{'.'.join(me)} (floor {mine}) imports {'.'.join(other)} (floor {theirs})"
        if theirs is None or theirs > mine:
            found.append(f"{what}: upward")
        elif other[0] != me[0] and {other[0], me[0]} <= SIBLINGS:
            found.append(f"{what}: these siblings never import one another")
        elif other[0] == me[0] and len(me) > 1 and len(other) > 1:
            order = ORDER_INSIDE.get(me[0], [])
            if me[1] in order and other[1] in order and order.index(other[1]) > order.index(me[1]):
                found.append(f"{what}: against the order {' -> '.join(order)}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(name_of(path)))
def test_imports_point_down_only(path):
    assert name_of(path)[0] in FLOOR_OF, f"{path} has no floor: give it one in FLOORS"
    assert problems_in(path) == []


def test_an_upward_import_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "nn").mkdir()
    for name, source in {
        "nn/rope.py": "def f():\n    from . import transformer",
        "nn/attention.py": "from causvid.models.bundle import load",
        "nn/cache.py": "from ..generate import rollout",
        "nn/transformer.py": "import causvid.nn.rope\nfrom causvid import __version__, errors, flow",
        "cli.py": "from causvid import load",
    }.items():
        (tmp_path / name).write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)

    bad = {path.stem: problems_in(path) for path in sorted(tmp_path.rglob("*.py"))}

    assert {name for name, problems in bad.items() if problems} == {"rope", "attention", "cache", "cli"}


def test_siblings_are_strangers(tmp_path, monkeypatch):
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "app.py").write_text("from causvid.train.runs import open_run")
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)

    assert "siblings" in problems_in(tmp_path / "serve" / "app.py")[0]


def test_importing_the_package_does_not_load_torch():
    source = "import sys, causvid; causvid.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source]).returncode == 0


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = causvid.laod


def test_what_type_checkers_see_is_what_is_looked_up_at_run_time():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == causvid._HOMES
    assert set(causvid.__all__) == {*seen, "__version__"}
