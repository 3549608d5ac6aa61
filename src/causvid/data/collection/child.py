"""The process that decodes one video of a collection; started by `decoder`, never imported by it.

    python -P -m causvid.data.collection.child '{"errand": {...}, "limits": {...}}' < file > answer

It gives up the same things as the process for the files of strangers, whose fence it uses.
The answer is any number of frames, each behind an "F", and one line of JSON. Loads no torch.
"""

import json
import os
import sys
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from causvid.data.collection.pictures import ACCEPTED, Errand, pictures_of
from causvid.data.files import reading
from causvid.data.untrusted_child import fence, rehearse
from causvid.errors import UserError


def main() -> None:
    """Read the file on standard input, as the one argument asks."""
    asked = json.loads(sys.argv[1])
    given = asked["errand"]
    spans = None if given["spans"] is None else tuple((a, b) for a, b in given["spans"])
    errand = Errand(**{**given, "size": tuple(given["size"]), "spans": spans})
    rehearse()
    fence(asked["limits"])
    with os.fdopen(0, "rb") as file, os.fdopen(1, "wb") as answer:
        answer_to(errand, file, answer.write)


def answer_to(errand: Errand, file: BufferedIOBase, send: Callable[[bytes], Any]) -> None:
    """Frames and the last word; nothing is raised for whatever the file holds."""
    verdict: dict[str, Any]
    try:
        with reading(Path(errand.name), ACCEPTED):
            pictures = pictures_of(file, errand)
            while True:
                try:
                    picture = next(pictures)
                except StopIteration as end:
                    verdict = {"facts": end.value}
                    break
                send(b"F" + picture.tobytes())
    except UserError as error:
        verdict = {"error": str(error)}
    send(json.dumps(verdict).encode("ascii") + b"\n")


if __name__ == "__main__":
    main()
