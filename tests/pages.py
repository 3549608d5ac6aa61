"""What pages of documentation tell people to type."""

import re
import shlex
from pathlib import Path


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Fenced blocks: their language and text."""
    return re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL)


def commands_of(page: Path) -> list[list[str]]:
    """The words after `causvid` of every command in a block for the shell."""
    return [
        shlex.split(line, comments=True)[1:]
        for kind, text in blocks_of(page)
        if kind == "bash"
        for line in text.splitlines()
        if line.startswith("causvid ")
    ]
