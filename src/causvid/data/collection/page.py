"""An encoded collection to look at: pages of thumbnails that need nothing but themselves.

    index.html, index-2.html ...     what was taken, what was not and why, and every clip

Everything a page shows comes from the shards and lists beside it, so it can be made again.
Captions and names come from anybody; all are escaped, and a page may run no script.
"""

import base64
import html
from collections.abc import Iterator
from pathlib import Path

from causvid.data.collection.plan import DUPLICATES, QUARANTINE, read_lines, reasons
from causvid.data.collection.reader import CollectionReader
from causvid.data.files import finish_part, open_part, writing

PER_PAGE = 500
MOST_LINES = 200
"""Of the tables of what was not taken; the files beside the page have all."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
ul.clips { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
ul.clips { list-style: none; padding: 0; }
.clips img { border-radius: 4px; display: block; max-width: 100%; }
.clips small, nav { opacity: .75; }
td { overflow-wrap: anywhere; padding: .1rem 1rem .1rem 0; vertical-align: top; }
"""


def write_pages(folder: Path) -> Path:
    """Write the pages of a collection, and return the first.

    Raises:
        UserError: the collection is not complete, or the folder cannot be written.
    """
    reader = CollectionReader(folder)
    pages = -(-len(reader) // PER_PAGE)
    for page in range(pages):
        path = folder / _name(page)
        part = open_part(path)
        with writing(path), part.open("w", encoding="utf-8") as file:
            file.writelines(_page(reader, page, pages))
        finish_part(part, path)
    return folder / _name(0)


def _name(page: int) -> str:
    return "index.html" if page == 0 else f"index-{page + 1}.html"


def _page(reader: CollectionReader, page: int, pages: int) -> Iterator[str]:
    title = html.escape(f"{reader.folder.name}: {len(reader)} clips")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style><h1>{title}</h1>"
    if page == 0:
        yield from _head(reader)
    links = " ".join(
        f"<b>{n + 1}</b>" if n == page else f'<a href="{_name(n)}">{n + 1}</a>' for n in range(pages)
    )
    yield f"<h2>Clips</h2><nav>Page {links}</nav><ul class=clips>"
    for clip in range(page * PER_PAGE, min(len(reader), (page + 1) * PER_PAGE)):
        yield _clip(reader, clip)
    yield "</ul></html>\n"


def _clip(reader: CollectionReader, clip: int) -> str:
    about = reader.about(clip)
    picture = base64.b64encode(reader.thumbnail(clip)).decode()
    caption, video = html.escape(about["caption"]) or "<i>no caption</i>", html.escape(about["video"])
    where = f"{clip} &middot; {video} at {about['second']:.1f} s"
    return (
        f'<li><img loading=lazy alt="" src="data:image/jpeg;base64,{picture}">{caption}<br>'
        f"<small>{where}</small></li>\n"
    )


def _head(reader: CollectionReader) -> Iterator[str]:
    facts, folder = reader.collection, reader.folder
    frames, _, height, width = facts.latent_shape
    size = f"{facts.size[0]} x {facts.size[1]} pixels at {facts.fps:g} frames a second"
    yield f"<p>Each clip: {size}; {frames} latent frames of {height} x {width}.</p>"
    bad, twins = read_lines(folder / QUARANTINE), read_lines(folder / DUPLICATES)
    if bad:
        counted = ", ".join(f"{count} {html.escape(kind)}" for kind, count in reasons(folder).most_common())
        yield f"<h2>{len(bad)} videos were not used: {counted}</h2><table>"
        for line in bad[:MOST_LINES]:
            yield f"<tr><td>{html.escape(line['video'])}<td>{html.escape(line['reason'])}"
        yield f"</table>{_rest(len(bad), QUARANTINE)}"
    if twins:
        yield f"<h2>{len(twins)} clips look like another</h2><table>"
        for line in twins[:MOST_LINES]:
            one, other = (
                html.escape(f"{line[video]}, frame {line[start]}")
                for video, start in (("video", "start"), ("of", "of_start"))
            )
            yield f"<tr><td>{one}<td>like {other}"
        yield f"</table>{_rest(len(twins), DUPLICATES)}"


def _rest(count: int, file: str) -> str:
    return f"<p>and {count - MOST_LINES} more, in {file}</p>" if count > MOST_LINES else ""
