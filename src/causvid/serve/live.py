"""One live video: what its viewer asks for, and the chunks it gets.

The viewer's side calls `do`, `ack` and `picture` from any thread; the engine calls `due`, `turn`
and `end` on its own. All that the video has to say goes through `emit`, in order: messages of the
protocol as dictionaries, chunks as `Made`. Knows sessions and time; nothing of sockets or coding.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from causvid.errors import UserError
from causvid.serve.branches import Branch, Made, Moment, Piece
from causvid.serve.camera import Camera
from causvid.serve.engine import Engine, Lost
from causvid.serve.limits import Limits
from causvid.serve.pace import Credits, Pace
from causvid.serve.protocol import (
    Command,
    MakeBranch,
    Pause,
    Prompt,
    Resume,
    Rewind,
    SetStrength,
    Step,
    Stop,
    Switch,
)
from causvid.types import Frames

Emit = Callable[[dict[str, Any] | Made], None]
_MOST_COMMANDS = 64
_STAGES = ("text", "denoise", "commit", "decode")
DEFAULT_STRENGTH = 0.7


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a video is to be, checked and decoded."""

    prompt: str
    seed: int
    moments: tuple[Moment, ...] = ()
    """Further prompts that come by themselves, in order."""
    seconds: float | None = None
    """It pauses there."""
    image: Any = None
    clip: Frames | None = None
    """To be extended."""
    source: "Frames | Camera | None" = None
    """To be edited: a clip, or what comes from a camera."""
    strength: float = DEFAULT_STRENGTH
    realtime: bool = True
    size: tuple[int, int] | None = None
    history: int = 0
    """Chunks that one can go back by."""
    at_end: Literal["pause", "stop"] = "pause"
    """What happens where the timeline or the clip to be edited ends."""


class LiveVideo:
    """A `Work` of the engine."""

    def __init__(
        self,
        order: Order,
        *,
        name: str,
        fps: float | int,
        limits: Limits,
        credits: Credits,
        emit: Emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.order, self.limits, self.fps = name, order, limits, fps
        self.branches: dict[int, Branch] = {}
        self.state = "new"
        """new, playing, paused or ended."""
        self._present = 0
        self._credits, self._emit, self._clock = credits, emit, clock
        self._lock = threading.Lock()
        self._commands: deque[tuple[float, Command | Stop]] = deque()
        self._pace = Pace(fps)
        self._steps = 0
        self._strength = order.strength
        self._wanted = clock()
        self._asked: float | None = self._wanted
        self._edited: float | None = None
        self._next_frames = 0
        self._stop_reason = "stopped as asked"

    # For any thread.

    def do(self, command: Command | Stop) -> None:
        """Steer; the answer comes through `emit`. The engine has to be woken.

        Raises:
            UserError: too much is asked at once.
        """
        with self._lock:
            if len(self._commands) >= _MOST_COMMANDS and not isinstance(command, Stop):
                raise UserError(f"more than {_MOST_COMMANDS} wishes are waiting; send the next one later.")
            self._commands.append((self._clock(), command))

    def finish(self, reason: str) -> None:
        """Stop after the chunk that is being made, and say why."""
        self._stop_reason = reason
        self.do(Stop(type="stop"))

    def ack(self, sequence: int) -> None:
        """A frame was shown.

        Raises:
            UserError: there is no such frame.
        """
        with self._lock:
            waited = self._waits_for_viewer()
            self._credits.ack(sequence)
            if waited and not self._waits_for_viewer():
                self._wanted = self._clock()

    def picture(self, data: bytes) -> None:
        """A camera's next picture, coded; the oldest one waiting goes when there are too many.

        Raises:
            UserError: the video is not made from a camera.
        """
        if not isinstance(self.order.source, Camera):
            raise UserError('pictures are taken by a video that was started with the mode "camera" only.')
        self.order.source.add(data)

    def decode_pictures(self) -> None:
        """Decode what the camera sent, in a thread that may take its time.

        Raises:
            UserError: a picture that is none.
        """
        if isinstance(self.order.source, Camera):
            self.order.source.decode()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        with self._lock:
            return self.state == "ended" or any(isinstance(command, Stop) for _, command in self._commands)

    @property
    def present(self) -> Branch:
        return self.branches[self._present]

    # On the engine's thread.

    def due(self) -> float:
        with self._lock:
            if self.state == "ended":
                return math.inf
            if self.state == "new" or self._commands:
                return -math.inf
            return self._chunk_due()

    def turn(self, engine: Engine) -> None:
        if self.state == "new":
            self._begin(engine)
        while self.state != "ended" and (waiting := self._next_command()) is not None:
            arrived, command = waiting
            try:
                self._apply(command, arrived)
            except UserError as error:
                self._complain("refused", str(error))
        if self.state == "ended":
            engine.remove(self)
            return
        with self._lock:
            self._next_frames = self.present.session.next_frames
            wanted = self._chunk_due() <= self._clock()
        if wanted and not self._at_an_end(engine):
            self._make()

    def end(self, error: Exception | None) -> None:
        """Say why nothing more comes, and let go of what it held."""
        if self.state == "ended":
            return
        self.state = "ended"
        for branch in self.branches.values():
            branch.session = None
        if error is not None:
            self._complain(*_said(error))
        reason = self._stop_reason if error is None else "the video failed"
        self._emit({"type": "stopped", "reason": reason})

    # Commands.

    def _begin(self, engine: Engine) -> None:
        order = self.order
        how = {"size": order.size, "seed": order.seed, "image": order.image, "video": order.clip}
        given = {key: value for key, value in how.items() if value is not None}
        session = engine.session(order.prompt, history=order.history, **given)
        strength = None if order.source is None else self._strength
        first = Moment(frame=0, prompt=order.prompt, strength=strength)
        self.branches[0] = Branch(0, session, (first,))
        self.state = "playing"
        self._emit(
            {
                "type": "started",
                "branch": 0,
                "seed": order.seed,
                "prompt": order.prompt,
                "unknown": session.unknown_words(order.prompt),
            }
        )

    def _next_command(self) -> tuple[float, Command | Stop] | None:
        with self._lock:
            return self._commands.popleft() if self._commands else None

    def _apply(self, command: Command | Stop, arrived: float) -> None:
        match command:
            case Prompt():
                self._set_prompt(command.prompt, command.transition, command.over, id=command.id)
                self._edited = arrived
            case SetStrength():
                if self.order.source is None:
                    raise UserError('strength is for the modes "edit" and "camera" only.')
                self._strength = command.strength
                self.present.strength(command.strength, self.present.session.frames)
            case Pause():
                self.state, self._steps = "paused", 0
                self._emit({"type": "paused"})
            case Resume():
                self.state = "playing"
                self._start_clock(arrived)
                self._emit({"type": "resumed"})
            case Step():
                if self.state != "paused":
                    raise UserError("a step is made while the video is paused; pause it first.")
                self._steps += 1
                self._start_clock(arrived)
            case Rewind():
                self._rewind(command.chunk)
                self._start_clock(arrived)
            case MakeBranch():
                self._branch(command)
                self._start_clock(arrived)
                self._edited = arrived if command.prompt is not None else self._edited
            case Switch():
                self._switch(command.branch)
                self._start_clock(arrived)
            case Stop():
                self.end(None)

    def _start_clock(self, arrived: float) -> None:
        """What was to come later is wanted now."""
        self._pace.restart()
        with self._lock:
            self._wanted = max(self._wanted, arrived)

    def _set_prompt(self, prompt: str, transition: str, over: int, *, id: int | None) -> None:
        branch = self.present
        how = {"transition": transition} | ({"over": over} if transition == "blend" else {})
        frame = branch.session.set_prompt(self.limits.check_prompt(prompt), **how)
        strength = None if self.order.source is None else self._strength
        branch.at(prompt, frame, strength=strength, **how)
        if id is not None:
            self._emit(
                {
                    "type": "prompted",
                    "id": id,
                    "frame": frame,
                    "prompt": prompt,
                    "transition": transition,
                    "branch": branch.number,
                    "unknown": branch.session.unknown_words(prompt),
                }
            )

    def _rewind(self, chunk: int) -> None:
        branch = self.present
        branch.session.rewind(chunk)
        branch.cut(chunk, branch.session.frames)
        self._emit({"type": "rewound", **self._where()})

    def _branch(self, command: MakeBranch) -> None:
        parent = self.present
        if len(self.branches) >= self.limits.branches:
            raise UserError(f"the video has {len(self.branches)} branches; there can be no more of them.")
        session = parent.session.branch(command.chunk)
        number = max(self.branches) + 1
        branch = parent.fork(number, session)
        branch.cut(command.chunk, session.frames)
        if command.prompt is not None:
            self.limits.check_prompt(command.prompt)
            frame = session.set_prompt(command.prompt, transition=command.transition)
            branch.at(command.prompt, frame, transition=command.transition)
        self.branches[number], self._present = branch, number
        self._emit({"type": "branched", "id": command.id, "parent": parent.number, **self._where()})

    def _switch(self, number: int) -> None:
        if number not in self.branches:
            known = ", ".join(map(str, self.branches))
            raise UserError(f"there is no branch {number}; the branches are {known}.")
        self._present = number
        self._emit({"type": "switched", **self._where()})

    def _where(self) -> dict[str, int]:
        branch = self.present
        return {"branch": branch.number, "chunk": branch.session.chunks, "frame": branch.session.frames}

    # Chunks.

    def _waits_for_viewer(self) -> bool:
        """Whether there is enough on its way to the viewer for now."""
        if not self._credits.room(self._next_frames):
            return True
        return self.order.realtime and not self._steps and self._pace.enough(self._credits.in_flight)

    def _chunk_due(self) -> float:
        if (self.state != "playing" and not self._steps) or self._waits_for_viewer():
            return math.inf
        if isinstance(self.order.source, Camera):
            return -math.inf if self.order.source.enough(self._next_frames) else math.inf
        return self._pace.due() if self.order.realtime and not self._steps else -math.inf

    def _at_an_end(self, engine: Engine) -> bool:
        """Whether there is nothing to make: then it pauses or stops, and says so."""
        session, source = self.present.session, self.order.source
        seconds, after = session.frames / self.fps, session.frames + session.next_frames
        if seconds >= self.limits.session_seconds:
            self._stop(engine, f"a video lasts at most {self.limits.session_seconds:g} seconds")
        elif self.order.seconds is not None and seconds >= self.order.seconds:
            self._rest(engine, "the timeline is at its end")
        elif source is not None and not isinstance(source, Camera) and after > len(source):
            self._rest(engine, "the clip is at its end")
        else:
            return False
        return True

    def _rest(self, engine: Engine, reason: str) -> None:
        if self.order.at_end == "stop":
            return self._stop(engine, reason)
        self.state, self._steps = "paused", 0
        self._emit({"type": "paused", "reason": f"{reason}; go back or branch to go on"})

    def _stop(self, engine: Engine, reason: str) -> None:
        self._stop_reason = reason
        self.end(None)
        engine.remove(self)

    def _make(self) -> None:
        branch, started = self.present, self._clock()
        session = branch.session
        first_frame, chunk = session.frames, session.chunks
        self._follow_timeline(branch)
        self._feed(session)
        frames = session.next_chunk()
        now = self._clock()
        with self._lock:
            wanted = min(started, max(self._wanted, self._pace.due() if self.order.realtime else -math.inf))
            self._wanted = now
            self._next_frames = session.next_frames
            sequence = self._credits.take(len(frames))
        self._steps = max(0, self._steps - 1)
        self._pace.made(len(frames), wanted=wanted, now=now)
        piece = Piece(first_frame, len(frames))
        branch.pieces.append(piece)
        measured = {"queue": started - wanted, **{stage: session.timing[stage] for stage in _STAGES}}
        kept = session.kept
        made = Made(
            frames=frames, sequence=sequence, branch=branch.number, chunk=chunk, frame=first_frame,
            prompt=session.prompt, kept=(kept.start, kept.stop - 1), timing=measured, piece=piece,
            edit_seconds=None if self._edited is None else now - self._edited,
            first_seconds=None if self._asked is None else now - self._asked,
        )  # fmt: skip
        self._edited = self._asked = None
        self._emit(made)

    def _follow_timeline(self, branch: Branch) -> None:
        """Prompts that begin with a moment which the next chunk shows."""
        session = branch.session
        first, after = session.frames / self.fps, (session.frames + session.next_frames) / self.fps
        for moment in self.order.moments:
            if first <= moment.frame / self.fps < after:
                self._strength = self._strength if moment.strength is None else moment.strength
                self._set_prompt(moment.prompt, moment.transition, moment.over, id=None)

    def _feed(self, session: Any) -> None:
        source, count = self.order.source, session.next_frames
        if isinstance(source, Camera):
            session.push(source.take(count), strength=self._strength)
        elif source is not None:
            session.push(source[session.frames : session.frames + count], strength=self._strength)

    def _complain(self, code: str, message: str) -> None:
        self._emit({"type": "error", "code": code, "message": message, "fatal": False})


def _said(error: Exception) -> tuple[str, str]:
    """What a viewer hears of a failure: a code and a sentence."""
    import torch

    if isinstance(error, UserError):
        return "refused", str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "memory", "the device has no memory left for this video; try again when others have ended."
    if isinstance(error, Lost):
        return "engine", "the server lost its model and loads it again; start the video anew in a moment."
    return "internal", "this video failed for a reason that only the server's log knows; start it anew."
