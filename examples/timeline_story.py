"""A story, written as a timeline file, becomes a video that holds the timeline in its metadata.

python examples/timeline_story.py examples/story.json story.mp4
"""

import json
import sys

import causvid
from causvid.data.video import ClipWriter, viewing_scale
from causvid.generate.timeline import read_timeline


def tell(story: str, out: str) -> None:
    timeline = read_timeline(story)
    model = causvid.load(timeline.model or "tiny")
    remark = {"timeline": json.loads(timeline.to_json()), "model": model.spec.name}
    scale = viewing_scale(model.spec.size[0])
    with ClipWriter(out, fps=model.spec.fps, metadata=remark, scale=scale) as clip:
        for frames in model.stream(timeline):
            clip.write(frames)
            print(f"{clip.frames / model.spec.fps:.1f} s of video")


tell(*sys.argv[1:3])
