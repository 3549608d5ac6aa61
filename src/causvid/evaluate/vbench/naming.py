"""How upstream wants videos called, and which prompts cannot be a file's name.

The standard tool finds a prompt's videos by its whole text, `{prompt}-{i}.mp4`; cutting names at 100
characters loses 72 of its prompts. The competition's finds them by their order, `0001_First_three_words.mp4`.
All names are checked before anything is made.
"""

import unicodedata
from collections.abc import Sequence
from typing import Literal

from causvid.errors import UserError

Layout = Literal["standard", "custom", "competition"]
"""Of upstream's own suite; of its custom input, which has a map of prompts; of its competition, by order."""
SUFFIX = ".mp4"
MAX_BYTES = 255
"""Of a file's name, on all usual file systems."""
MAX_COMPETITION_PROMPTS = 9999
_WORDS = 3


def video_name(prompt: str, sample: int) -> str:
    """The whole original prompt, never cut."""
    return f"{prompt}-{sample}{SUFFIX}"


def competition_name(number: int, prompt: str) -> str:
    """The prompt's number from 1 and its first three words."""
    return f"{number:04d}_{'_'.join(prompt.split()[:_WORDS])}{SUFFIX}"


def check_names(names: Sequence[str], *, folds_case: bool) -> None:
    """Nothing about these names keeps their videos from being made and found.

    Args:
        names: of all videos, in their order.
        folds_case: whether the disk takes `A.mp4` and `a.mp4` for the same file.

    Raises:
        UserError: one is no file's name, too long, or the same as another.
    """
    taken: dict[str, str] = {}
    for name in names:
        _check_name(name)
        # Disks that fold case also fold the ways of writing an accent.
        key = unicodedata.normalize("NFC", name).casefold() if folds_case else name
        if key in taken:
            other = taken[key]
            why = "are the same" if other == name else "are the same to this disk, which ignores case"
            raise UserError(
                f"the videos {other!r} and {name!r} {why}; leave one prompt out"
                + ("." if other == name else ", or export to another disk.")
            )
        taken[key] = name


def _check_name(name: str) -> None:
    wrong = [letter for letter in name if letter in "/\\" or unicodedata.category(letter) == "Cc"]
    if wrong or name.startswith("."):
        what = f"holds {wrong[0]!r}" if wrong else "begins with a dot"
        raise UserError(
            f"the video {name!r} cannot be called so: it {what}. Change the prompt, or use the layout "
            "competition, which names videos by number."
        )
    if (size := len(name.encode())) > MAX_BYTES:
        raise UserError(
            f"the name of the video {name[:60]!r}... takes {size} bytes; {MAX_BYTES} are possible, and "
            "upstream needs the whole prompt. Use the layout competition, which names videos by number."
        )
