"""The models that are known by name: what of them is here, fetching them, and checking what was fetched.

Fetching is the only thing in the package that uses the network, and it is asked for by
name. The hub's cache names a large file by its sha256, so what was fetched can be checked
later without asking anybody.

Knows nothing about what is inside the files.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causvid.errors import UserError
from causvid.weights.names import KNOWN, MAIN, find_cached, licence_note

SHA256 = re.compile(r"[0-9a-f]{64}")


def listing() -> dict[str, str]:
    """A line on every known model: where it comes from, its size and licence, and whether it is here."""
    lines = {"tiny": "in this package; 0.013 GB; Apache-2.0; here"}
    for name, known in KNOWN.items():
        missing = missing_files(name)
        state = "here" if not missing else f"not here: {missing[0]} is missing"
        revision = "revision main, whatever that is today" if known.revision == MAIN else known.revision
        base = "" if known.base is None else f", on top of {known.base}"
        lines[name] = (
            f"{known.hub} ({revision}){base}; about {known.gigabytes:g} GB; {known.licence}; {state}"
        )
    return lines


def missing_files(name: str) -> list[str]:
    """What of a known model is not in the cache; index files count only where shards need them."""
    known = KNOWN[name]
    folder = find_cached(known.hub, revision=known.revision)
    patterns = [pattern for pattern in known.files if not pattern.endswith(".json")]
    return patterns if folder is None else [p for p in patterns if not any(folder.glob(p))]


def pull(name: str) -> Path:
    """Fetch a known model, and the one it stands on, into the hub's cache; what is there is kept.

    Returns:
        the folder in the cache.

    Raises:
        UserError: an unknown name, no network, no room, or a model one must first be admitted to.
    """
    known = KNOWN[_known(name)]
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            'fetching models needs huggingface_hub, which is not installed: pip install "causvid[wan]".'
        ) from error
    if known.base is not None:
        pull(known.base)
    try:
        fetched = snapshot_download(
            known.hub, revision=known.revision, allow_patterns=[*known.files, "LICENSE*"]
        )
    except Exception as error:  # the hub's, requests' and httpx' errors have no common class
        raise UserError(_why(name, error)) from error
    missing = missing_files(name)
    if missing:
        raise UserError(
            f"{known.hub} was fetched but has no {missing[0]}; it may have been rearranged. "
            f"Look at https://huggingface.co/{known.hub}."
        )
    return Path(fetched)


def _why(name: str, error: Exception) -> str:
    """What to do about a fetch that failed."""
    kind, hub = type(error).__name__, KNOWN[name].hub
    if kind == "GatedRepoError":
        return (
            f"{hub} is gated: accept its terms at https://huggingface.co/{hub}, run `hf auth login`, "
            f"and then `causvid models pull {name}` again."
        )
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"):
        return f"the hub has no {hub} at revision {KNOWN[name].revision}, or you may not see it."
    reason = (str(error).splitlines() or [kind])[0][:150]
    return (
        f"{hub} could not be fetched ({kind}: {reason}). Check the network and HF_HUB_OFFLINE, and run "
        f"`causvid models pull {name}` again: what was fetched is kept."
    )


def verify(name: str) -> dict[str, Any]:
    """Compare every file of a known model with the hash the cache stores it under.

    Returns:
        how many files were compared, and the names of those that have no hash to compare with.

    Raises:
        UserError: an unknown name, a missing file, or one that is not what was published.
    """
    known = KNOWN[_known(name)]
    missing = missing_files(name)
    folder = find_cached(known.hub, revision=known.revision)
    if folder is None or missing:
        raise UserError(f"{name} is not here: {missing[0]} is missing. Run `causvid models pull {name}`.")
    compared, unknown = 0, []
    for path in sorted({path for pattern in known.files for path in folder.glob(pattern) if path.is_file()}):
        blob = path.resolve().name
        if not SHA256.fullmatch(blob):
            unknown.append(str(path.relative_to(folder)))
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob:
            raise UserError(
                f"{path} is not what was published: its sha256 is {found}. "
                f"Delete it and run `causvid models pull {name}`."
            )
        compared += 1
    return {"model": name, "folder": str(folder), "files compared": compared, "without a hash": unknown}


def _known(name: str) -> str:
    if name not in KNOWN:
        raise UserError(
            f"no known model is called {name!r}; known: {', '.join(KNOWN)}. "
            "What is in a folder, or embedded as tiny is, needs no fetching."
        )
    return name


def act(action: str, name: str | None, *, say: Callable[[str], None]) -> dict[str, Any]:
    """What `causvid models` does.

    Args:
        action: list, pull or verify.
        name: of the model; list needs none.
        say: takes what must be said before a fetch begins.

    Raises:
        UserError: as the three raise it, or no name where one is needed.
    """
    if action == "list":
        return dict(listing())
    if name is None:
        raise UserError(f"which model? `causvid models {action} NAME`; known: {', '.join(KNOWN)}.")
    if action == "verify":
        return verify(name)
    note = licence_note(_known(name))
    say(f"fetching {KNOWN[name].hub}, about {KNOWN[name].gigabytes:g} GB, into the hub's cache")
    if note is not None:
        say(note)
    return {"model": name, "folder": str(pull(name))}
