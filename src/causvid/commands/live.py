"""`causvid stream`: a video without an end, steered by what is typed.

The loop joins a session, a clip that grows and typed lines, none of which know one another.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import BufferedIOBase
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from tyro.conf import Positional, arg

from causvid.commands.flags import (
    LoadFlags,
    Loading,
    Sampling,
    SamplingFlags,
    Scale,
    Seconds,
    Size,
    Transition,
)
from causvid.commands.typed import HELP, TypedLines, Wish, asked_to_stop, read_wish
from causvid.commands.words import ModelName, complain, read_size, warn_of_unknown_words
from causvid.errors import UserError
from causvid.progress import Progress

if TYPE_CHECKING:
    from causvid.data.growing import GrowingClip
    from causvid.generate.session import StreamingSession

LEAD_SECONDS = 0.5
"""How far pictures may be ahead of the moment they are to be seen."""
LOOK_SECONDS = 0.05
"""How long a wait goes on before typed lines are looked at again."""


def stream(
    model: ModelName,
    prompt: Annotated[Positional[str], arg(metavar="PROMPT")],
    /,
    *,
    seconds: Seconds = None,
    seed: int = 0,
    image: Annotated[Path | None, arg(metavar="FILE")] = None,
    transition: Transition = "soft",
    over: Annotated[int, arg(metavar="CHUNKS")] = 4,
    pace: Literal["realtime", "fast"] = "realtime",
    size: Size = None,
    scale: Scale = None,
    loading: Loading = LoadFlags(),  # noqa: B008
    sampling: Sampling = SamplingFlags(),  # noqa: B008
    out: Annotated[Path, arg(aliases=["-o"])] = Path("live.mp4"),
) -> None:
    """Stream a video without an end, and change it by typing.

    Every line typed is the prompt from the next chunk on. /blend, /cut, /recache or /soft before a
    prompt say how it comes in; /pause, /resume and /quit do what they say. Ctrl-C ends the file well.

    Args:
        prompt: what the video shows at first.
        seconds: how long; without an end by default.
        seed: the same seed and prompts give the same video.
        image: a JPEG, PNG or WebP to start from; it is cropped to the video's shape.
        transition: of a prompt that says none.
        over: chunks that a blend takes.
        pace: as fast as the video plays, or as fast as it can be made.
        out: a .mp4, which can be watched while it grows; - for standard output.
    """
    from causvid.data.growing import GrowingClip
    from causvid.data.images import read_image
    from causvid.generate.clip import frames_in
    from causvid.recording import default_scale, made_with

    if scale is not None and not 1 <= scale <= 64:
        raise UserError(f"scale is {scale}; it must be a whole number from 1 to 64.")
    pipeline, pixels = loading.load(model), read_size(size)
    pipeline = pipeline.sampled(**sampling.changes())
    fps, shape = pipeline.spec.fps, pixels or pipeline.spec.size
    frames = None if seconds is None else frames_in(seconds, fps)
    warn_of_unknown_words(pipeline.unknown_words(prompt))
    start = None if image is None else read_image(image, size=shape)
    session = pipeline.session(prompt, seed=seed, image=start, size=pixels)
    facts: dict[str, Any] = {"verb": "stream"} | ({} if image is None else {"image": image.name})
    facts |= made_with(pipeline, seed=seed, size=pixels, seconds=seconds)
    target = cast(BufferedIOBase, sys.stdout.buffer) if str(out) == "-" else out
    story = Story(session.prompt, facts, fps=fps)
    with (
        ExitStack() as stack,
        asked_to_stop() as stop,
        GrowingClip(
            target, fps=fps, metadata=story.metadata(0), scale=scale or default_scale(out, shape[0])
        ) as clip,
    ):
        show = Show(session, clip, story, transition=transition, over=over, pace=pace, say=complain)
        complain(f"streaming into {_named(out)}; {HELP}; Ctrl-C ends it")
        show.run(TypedLines(sys.stdin), stop, frames=frames, told=_progress(frames, out.name, stack))
    if clip.frames:
        complain(f"{_named(out)}: {clip.frames / fps:g} s of video")
    else:
        complain("ended before the first frames; nothing was written")


def _named(out: Path) -> str:
    return "standard output" if str(out) == "-" else str(out)


def _unheard(frames: int) -> None:
    """Nobody wants to know."""


def _progress(frames: int | None, label: str, stack: ExitStack) -> Callable[[int], None]:
    """Shows how far a video of known length is, unless somebody types where it would be shown."""
    if frames is None or sys.stdin.isatty():
        return _unheard
    return stack.enter_context(Progress(frames, label=label, unit="frame")).update


class Story:
    """What was shown when, as it is stored in the clip."""

    def __init__(self, prompt: str, facts: dict[str, Any], *, fps: float | int) -> None:
        from causvid.generate.timeline import Event

        self.facts, self.fps = facts, fps
        self.events = [Event(0.0, prompt)]

    def add(self, frame: int, prompt: str, *, transition: str, over: int) -> None:
        """A prompt that begins with a frame, in place of those that would have begun there or later."""
        from causvid.generate.timeline import Event

        moment = frame / self.fps
        self.events = [event for event in self.events if event.time < moment]
        first = moment == 0  # nothing is there that it could come in to
        self.events.append(Event(moment, prompt) if first else Event(moment, prompt, transition, over))

    def metadata(self, frames: int) -> dict[str, Any]:
        """What is stored in a clip of so many frames; 0 where nobody knows yet."""
        from causvid.generate.timeline import Timeline

        seconds = frames / self.fps if frames else self.facts["seconds"]
        shown = [event for event in self.events if event.time < (seconds or math.inf)]
        story = Timeline(tuple(shown), seed=self.facts["seed"], seconds=seconds, model=self.facts["model"])
        told = {"prompt": story.prompt, "timeline": story.to_table()}
        return {**told, **self.facts, "seconds": seconds}


class Show:
    """A session that plays into a clip while wishes are heard."""

    def __init__(
        self,
        session: "StreamingSession",
        clip: "GrowingClip",
        story: Story,
        *,
        transition: str,
        over: int,
        pace: str,
        say: Callable[[str], None],
    ) -> None:
        self.session, self.clip, self.story = session, clip, story
        self.transition, self.over, self.pace, self.say = transition, over, pace, say
        self.paused = self.ended = False
        self._waited = 0.0
        """Seconds in pauses, which count for nothing."""

    def run(
        self, lines: TypedLines, stop: Flag, *, frames: int | None, told: Callable[[int], None] = _unheard
    ) -> None:
        """Go on until so many frames are shown, somebody says /quit, or `stop` is set.

        Args:
            told: how many frames were shown, after every chunk.
        """
        started = time.monotonic()
        while not (stop.is_set() or self.ended) and (frames is None or self.clip.frames < frames):
            ahead = self.clip.frames / self.story.fps - (time.monotonic() - started - self._waited)
            early = self.pace == "realtime" and ahead > LEAD_SECONDS
            began = time.monotonic()
            self._hear(lines, within=LOOK_SECONDS if early or self.paused else 0.0)
            if self.paused:
                self._waited += time.monotonic() - began
            if early or self.paused or self.ended:
                continue
            made = self.session.next_chunk()
            made = made if frames is None else made[: frames - self.clip.frames]
            self.clip.write(made)
            told(len(made))
            self.clip.metadata = self.story.metadata(self.clip.frames)

    def _hear(self, lines: TypedLines, *, within: float) -> None:
        """Take what was typed by now; wait a little where there is time."""
        line = lines.take(within=within)
        while line is not None:
            wish = read_wish(line, transition=self.transition)
            if wish is not None:
                self._grant(wish)
            line = lines.take()

    def _grant(self, wish: Wish) -> None:
        if wish.word == "help":
            self.say(HELP)
        elif wish.word == "quit":
            self.ended = True
        elif wish.word in ("pause", "resume"):
            self.paused = wish.word == "pause"
            self.say("paused; /resume goes on" if self.paused else "going on")
        else:
            self._change(wish)

    def _change(self, wish: Wish) -> None:
        try:
            frame = self.session.set_prompt(wish.prompt, transition=wish.word, over=self.over)
        except UserError as error:
            self.say(str(error))
            return
        self.story.add(frame, wish.prompt, transition=wish.word, over=self.over)
        warn_of_unknown_words(self.session.unknown_words(wish.prompt))
        self.say(f"from {frame / self.story.fps:.1f} s: {wish.prompt} ({wish.word})")
