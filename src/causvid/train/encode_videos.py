"""Somebody's videos to latents: what `causvid encode RECIPE` does where the recipe has a source.

    vae = "wan2.1-t2v-1.3b"
    source = { folder = "videos" }
    clip = { frames = 81, size = [480, 832], fps = 16 }

First every video is looked at once, small; then it is decided which clips are taken; then
those are encoded, captions included. Each of the three goes on where it was stopped, and a
run of a finished folder checks all its shards and makes damaged ones again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from causvid.data.collection.decoder import frames_of
from causvid.data.collection.fingerprints import text_fingerprint, weights_fingerprint
from causvid.data.collection.items import Item, SourceConfig, digest, find_items
from causvid.data.collection.page import write_pages
from causvid.data.collection.plan import CLIPS, Clip, make_plan, read_plan, reasons, summary
from causvid.data.collection.shards import FILE, Collection, save_texts, shard_of, thumbnail
from causvid.data.collection.survey import GROUP, ClipConfig, read_survey, survey, survey_path
from causvid.data.files import write_text
from causvid.data.latents import damaged_shards, make_shards, missing_shards
from causvid.errors import UserError
from causvid.generate.machine import autocast
from causvid.pixels import from_uint8
from causvid.train.encoders import Encoders
from causvid.train.parallel import Ranks
from causvid.train.shards import share
from causvid.types import Frames


@dataclass(frozen=True, kw_only=True)
class VideosConfig:
    """Which videos to encode, into what."""

    source: SourceConfig
    clip: ClipConfig
    vae: str
    """The model with the autoencoder: a run beside this one, a folder, or a known name."""
    text: str | None = None
    """The model with the text encoder; None for the same."""
    clips_per_shard: int = 64
    batch: int = 1
    """Clips that go through the autoencoder at once."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the autoencoder's matrix products."""

    def __post_init__(self) -> None:
        if self.clips_per_shard < 1 or self.batch < 1:
            raise UserError(
                f"shards of {self.clips_per_shard} clips by batches of {self.batch}; use 1 or more of both."
            )


def encode_videos(config: VideosConfig, encoders: Encoders, folder: Path, *, ranks: Ranks) -> Path:
    """Do what is left to do in `folder`, divided over ranks; returns the page that shows the clips.

    Raises:
        UserError: no video gives a clip, or the videos are not those the folder was begun with.
    """
    shape = encoders.latent_shape(config.clip)  # refused here, and not after an hour of looking
    items = find_items(config.source)
    if ranks.is_main:
        _keep_listing(folder, items)
    _look(config, items, folder, ranks=ranks)
    if ranks.is_main and not (folder / CLIPS).exists():
        lines = read_survey(folder, -(-len(items) // GROUP))
        make_plan(items, lines, folder, twin_bits=config.clip.twin_bits)
    ranks.wait()
    clips = read_plan(folder)
    if ranks.is_main:
        _describe(config, encoders, folder, clips=len(clips), shape=shape)
        _report(folder, len(items))
    made = _encode(config, encoders, items, clips, folder=folder, ranks=ranks)
    page = folder / "index.html"
    if ranks.is_main and (made or not page.exists()):
        write_pages(folder)
    ranks.wait()
    return page


def _keep_listing(folder: Path, items: Sequence[Item]) -> None:
    path, mark = folder / "videos.json", digest(list(items))
    if path.exists():
        known = json.loads(path.read_text())
        if known["digest"] != mark:
            raise UserError(
                f"{folder} was begun with other videos or captions ({known['videos']} then, {len(items)} "
                "now). Use another --out, or remove the folder."
            )
        return
    write_text(path, json.dumps({"videos": len(items), "digest": mark}) + "\n")


def _look(config: VideosConfig, items: Sequence[Item], folder: Path, *, ranks: Ranks) -> None:
    groups = range(-(-len(items) // GROUP))
    ranks.wait()  # nobody counts before all stand here, for others write
    missing = [n for n in groups if not survey_path(folder, n).exists()]
    if (folder / CLIPS).exists():
        return

    def work(numbers: Sequence[int], after: Any) -> None:
        for number in numbers:
            survey(items, folder, number, config=config.clip)
            after()

    units = [min(GROUP, len(items) - GROUP * n) for n in groups]
    share(missing, total=len(groups), work=work, ranks=ranks, label="look", unit="video", units=units)


def _describe(
    config: VideosConfig, encoders: Encoders, folder: Path, *, clips: int, shape: tuple[int, int, int, int]
) -> None:
    """Write down what all shards have in common, or check that it is still the same."""
    made = Collection(
        clips=clips,
        clips_per_shard=config.clips_per_shard,
        fps=config.clip.fps,
        size=config.clip.size,
        latent_shape=shape,
        starts_with_a_picture=encoders.vae.geometry.starts_with_a_picture,
        vae=weights_fingerprint(encoders.vae),
        text=text_fingerprint(encoders.text),
        rows=encoders.rows,
    )
    if not (folder / FILE).exists():
        save_texts(folder, encoders.other_prompts())
        made.save(folder)
    elif Collection.read(folder) != made:
        raise UserError(
            f"{folder} was begun with another autoencoder or text encoder than {config.vae!r} has now. "
            "Use another --out, or remove the folder."
        )


def _report(folder: Path, videos: int) -> None:
    counts = summary(folder)
    bad = ", ".join(f"{count} {kind}" for kind, count in reasons(folder).most_common())
    used = f"{videos - counts['quarantine']} of {videos} videos give {counts['clips']} clips"
    twins = f"; {counts['duplicates']} more look like another" if counts["duplicates"] else ""
    print(f"causvid: {used}{twins}." + (f" Not used: {bad}." if bad else ""), flush=True)


def _encode(
    config: VideosConfig,
    encoders: Encoders,
    items: Sequence[Item],
    clips: Sequence[Clip],
    *,
    folder: Path,
    ranks: Ranks,
) -> int:
    """Make the shards that are missing or damaged; returns how many they were."""
    per_shard = config.clips_per_shard
    shards = -(-len(clips) // per_shard)
    ranks.wait()
    numbers = set(missing_shards(folder, shards))
    if len(numbers) < shards:
        numbers |= {int(name[6:11]) for name in damaged_shards(folder)}

    def make(number: int) -> tuple[dict[str, Tensor], int]:
        chosen = clips[number * per_shard : (number + 1) * per_shard]
        return encode_shard(config, encoders, items, chosen), len(chosen)

    def work(mine: Sequence[int], after: Any) -> None:
        make_shards(folder, numbers=mine, make=make, after=after)

    share(sorted(numbers), total=shards, work=work, ranks=ranks, label="encode", unit="shard")
    return len(numbers)


def encode_shard(
    config: VideosConfig, encoders: Encoders, items: Sequence[Item], clips: Sequence[Clip]
) -> dict[str, Tensor]:
    """The tensors of one shard."""
    latents: list[Tensor] = []
    thumbnails: list[bytes] = []
    waiting: list[Frames] = []

    def flush() -> None:
        video = from_uint8(torch.stack(waiting).to(encoders.device))
        with autocast(encoders.device, config.precision):
            latents.append(encoders.vae.encode(video).half().cpu())
        waiting.clear()

    for frames in _clips_of(config.clip, items, clips):
        thumbnails.append(thumbnail(frames))
        waiting.append(frames)
        if len(waiting) == config.batch:
            flush()
    if waiting:
        flush()
    about: list[dict[str, Any]] = [
        {
            "video": items[clip.item].key,
            "second": round(clip.start / config.clip.fps, 3),
            "caption": items[clip.item].caption or "",
        }
        for clip in clips
    ]
    captions = list(dict.fromkeys(line["caption"] for line in about))
    return shard_of(torch.cat(latents), encoders.text(captions), about=about, thumbnails=thumbnails)


def _clips_of(config: ClipConfig, items: Sequence[Item], clips: Sequence[Clip]) -> Iterator[Frames]:
    """Frames of each clip; the clips of a video are read in one go."""
    for number, group in groupby(clips, key=lambda clip: clip.item):
        item, starts = items[number], [clip.start for clip in group]
        errand = config.errand(item.key, size=config.size, spans=starts)
        pictures = frames_of(item, errand, where=config.decode, patience=config.patience)
        got: list[Tensor] = []
        given = 0
        for picture in pictures:
            got.append(torch.from_numpy(picture.copy()))
            if len(got) == config.frames:
                yield torch.stack(got)
                got, given = [], given + 1
        if given < len(starts):
            raise UserError(
                f"{item.key} gives {given} clips and gave {len(starts)} when it was looked at: it has "
                "changed. Encode into another folder."
            )
