"""`causvid demo`: what the embedded model can do, in ten seconds.

Streams one clip whose prompt changes half-way, writes it as a video and as a contact
sheet, and says what happened and what to try next.
"""

from pathlib import Path

from causvid.errors import UserError
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import load
from causvid.recording import record

PROMPT = "a red ball bounces on the grass under a blue sky"
LATER = "a red ball bounces on the grass at night while it snows"
CHANGE_AT_SECONDS = 5.0
SECONDS = 10.0

NEXT = """Next:
  causvid generate tiny "a purple star circles around over the sea at sunset" -o star.gif
  causvid generate tiny "a yellow box circles around in the desert" --prompt-at 4 "now it rains" -o rain.mp4
  causvid info {video}
  causvid bench tiny
  causvid reproduce tiny --budget smoke"""


def run_demo(out: Path, *, model: str = "tiny") -> None:
    """Make causvid-demo.mp4 and causvid-demo.png in the folder `out` and talk about it.

    Raises:
        UserError: the files cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made a folder: {error.strerror}.") from error
    pipeline = load(model)
    use_threads(pipeline.bundle)
    height, width = pipeline.spec.size
    print(f"Streaming {SECONDS:g} s of video ({width}x{height}, {pipeline.spec.fps} frames a second):")
    print(f'   0 s  "{PROMPT}"')
    print(f'   {CHANGE_AT_SECONDS:g} s  "{LATER}"')
    made = record(
        pipeline,
        PROMPT,
        out / "causvid-demo.mp4",
        seconds=SECONDS,
        prompts_at={CHANGE_AT_SECONDS: LATER},
        also=[out / "causvid-demo.png"],
    )
    print(
        f"First frames after {made.first_frames_seconds:.2f} s, all {made.frames} after {made.seconds:.2f} s."
    )
    rate = made.frames_per_second
    print(f"That is {rate:.0f} frames a second, {rate / made.fps:.0f} times as fast as it plays.")
    print(f"Video:          {made.path}")
    print(f"Contact sheet:  {made.path.with_suffix('.png')}  (a frame every half second)")
    print(NEXT.format(video=made.path))
