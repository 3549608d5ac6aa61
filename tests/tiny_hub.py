"""The hub's cache as its own tools leave it, with small models in it."""

import hashlib

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fetched(cache, hub, files):
    """A hub model as the hub's own tools leave it: links into files named by their hash."""
    home = cache / f"models--{hub.replace('/', '--')}"
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text(COMMIT)
    for name, content in files.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = home / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return home / "snapshots" / COMMIT


def files_of(folder):
    """What was published of a folder: all but what only we write."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "causvid.toml")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
