"""How the tests check shapes and types: every function of the package, its first calls in each test.

Checking all of them would take longer than the tests, and the later ones are in the same loops as the first.
"""

import functools
import inspect
import sys
from collections import Counter

from beartype import beartype

CALLS = 10
"""Of one function, in one test."""

READ_BY_OTHERS = "causvid.commands"
"""The types of verbs are the command line, and a function that is marked as unchecked shows none."""

_counts = Counter()
_resting = []


def first_calls(check):
    """What jaxtyping is to check with; `check` stands for a function, and has its name, module and types."""
    checked, name = beartype(check), (check.__module__, check.__qualname__)

    @functools.wraps(check)
    def checked_at_first(*args, **kwargs):
        _counts[name] += 1
        if _counts[name] == CALLS and not name[0].startswith(READ_BY_OTHERS):
            _rest(*name)
        return checked(*args, **kwargs)

    return checked_at_first


def begin():
    """Check all functions again: a test begins."""
    _counts.clear()
    while _resting:
        del _resting.pop().__no_type_check__


def _rest(module, name):
    """Let a function go unchecked until the next test. One inside another is not found, and stays checked."""
    found = sys.modules[module]
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    found = getattr(found, "fget", None) or getattr(found, "func", None) or found
    function = inspect.unwrap(getattr(found, "__func__", found)) if found else None
    if inspect.isfunction(function):
        function.__no_type_check__ = True
        _resting.append(function)
