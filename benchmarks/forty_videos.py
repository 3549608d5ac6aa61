"""Forty real video files, four of them broken, become a student of Wan 2.1's shape with random weights.

    python benchmarks/forty_videos.py FOLDER      # new, or one where it was stopped; all files stay in it

H.264, VP9 and GIF of many sizes, rates and rotations, some with sound, each decoded in a process of its own.
Prints what was taken and what was not, and what each part took. The same with thirteen files is a test.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from home_videos import forty_videos
from train.test_own_videos_chain import type_all

from causvid.data.collection.plan import read_lines, reasons, summary
from causvid.data.footage import read_video


def main(folder: Path) -> None:
    """Make the files, run the chain, generate a clip."""
    home = folder / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if not home.exists():
        forty_videos(home)
    made = time.monotonic()
    os.chdir(folder)
    type_all(folder, decode="apart")
    trained = time.monotonic()
    clip = read_video("first.mp4")
    latents = folder / "runs" / "mine" / "latents"
    files = sum(path.suffix != ".txt" for path in home.rglob("*") if path.is_file())
    print(f"{files} files, made in {made - began:.0f} s; {summary(latents)}; {dict(reasons(latents))}")
    for line in read_lines(latents / "quarantine.jsonl"):
        print("  not used:", line["reason"])
    print(f"encode, trajectories, ODE, DMD, generate: {trained - made:.0f} s; a clip of {tuple(clip.shape)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
