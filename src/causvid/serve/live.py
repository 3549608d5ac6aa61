"""One live video: what its viewer asks for, and the chunks it gets.

The viewer's side calls `do` and `ack` from any thread; the engine calls `due`, `turn`
and `end` on its own. All that the video has to say goes through `emit`, in order: messages of the
protocol as dictionaries, chunks as `Made`. Knows sessions and time; nothing of sockets or coding.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from causvid.errors import UserError
from causvid.serve.branches import Branch, Made, Piece
from causvid.serve.camera import Camera
from causvid.serve.engine import Host, explain_failure
from causvid.serve.feed import feed, has_enough, is_used_up
from causvid.serve.limits import Limits
from causvid.serve.order import Order
from causvid.serve.pace import Credits, Schedule
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
from causvid.serve.tree import Answer, Tree

Emit = Callable[[dict[str, Any] | Made], None]
_MOST_COMMANDS = 64
_LONGEST_STEERING = 0.05  # seconds of a turn, after which further wishes wait for the next one
_STAGES = ("text", "denoise", "commit", "decode")


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
        self.tree = Tree(limits)
        self.state = "new"
        """new, playing, paused or ended."""
        self._emit, self._clock = emit, clock
        self._lock = threading.Lock()
        self._commands: deque[tuple[float, Command | Stop]] = deque()
        self._schedule = Schedule(credits, fps=fps, realtime=order.realtime, clock=clock)
        self._steps = 0
        self._strength = order.strength
        self._asked: float | None = clock()
        self._edited: float | None = None
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
        self._schedule.ack(sequence)

    def wrote(self, sequence: int) -> None:
        """A frame has left this program's memory."""
        self._schedule.wrote(sequence)

    @property
    def camera(self) -> Camera:
        """Where a camera's pictures go; the engine has to be woken when they are decoded.

        Raises:
            UserError: the video is not made from a camera.
        """
        if not isinstance(self.order.source, Camera):
            raise UserError('pictures are taken by a video that was started with the mode "camera" only.')
        return self.order.source

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        with self._lock:
            return self.state == "ended" or any(isinstance(command, Stop) for _, command in self._commands)

    # On the engine's thread.

    def due(self) -> float:
        with self._lock:
            if self.state == "ended":
                return math.inf
            if self.state == "new" or self._commands:
                return -math.inf
        return self._chunk_due()

    def turn(self, engine: Host) -> None:
        if self.state == "new":
            self._begin(engine)
        until = self._clock() + _LONGEST_STEERING
        while self.state != "ended" and (waiting := self._next_command()) is not None:
            arrived, command = waiting
            try:
                self._apply(command, arrived)
            except UserError as error:
                self._complain("refused", str(error))
            if self._clock() > until and self._commands:
                return
        if self.state == "ended":
            engine.remove(self)
            return
        if self._chunk_due() <= self._clock() and not self._at_an_end(engine):
            self._make()

    def end(self, error: Exception | None) -> None:
        """Say why nothing more comes, and let go of what it held."""
        if self.state == "ended":
            return
        self.state = "ended"
        self.tree.let_go()
        if error is not None:
            self._complain(*explain_failure(error))
        reason = self._stop_reason if error is None else "the video failed"
        self._emit({"type": "stopped", "reason": reason})

    # Commands.

    def _begin(self, engine: Host) -> None:
        order = self.order
        how = {"size": order.size, "seed": order.seed, "image": order.image, "video": order.clip}
        given = {key: value for key, value in how.items() if value is not None}
        session = engine.session(order.prompt, history=order.history, **given)
        answer = self.tree.plant(session, prompt=order.prompt, seed=order.seed, strength=self._strength_now)
        self.state = "playing"
        self._emit(answer)

    def _next_command(self) -> tuple[float, Command | Stop] | None:
        with self._lock:
            return self._commands.popleft() if self._commands else None

    def _apply(self, command: Command | Stop, arrived: float) -> None:
        match command:
            case Prompt():
                how: dict[str, Any] = {"transition": command.transition, "over": command.over}
                strength, id = self._strength_now, command.id
                self._emit(self.tree.set_prompt(command.prompt, strength=strength, id=id, **how))
                self._edited = arrived
            case SetStrength():
                if self.order.source is None:
                    raise UserError('strength is for the modes "edit" and "camera" only.')
                self._strength = command.strength
                self.tree.present.strength(command.strength, self.tree.present.session.frames)
            case Pause():
                self.state, self._steps = "paused", 0
                self._emit({"type": "paused"})
            case Resume():
                self.state = "playing"
                self._emit({"type": "resumed"})
                self._schedule.hurry(arrived)
            case Step():
                if self.state != "paused":
                    raise UserError("a step is made while the video is paused; pause it first.")
                self._steps += 1
                self._schedule.hurry(arrived)
            case Rewind() | MakeBranch() | Switch():
                self._emit(self._move(command))
                self._schedule.restart(arrived)
                if isinstance(command, MakeBranch) and command.prompt is not None:
                    self._edited = arrived
            case Stop():
                self.end(None)

    def _move(self, command: Rewind | MakeBranch | Switch) -> Answer:
        """Go to another place in time."""
        match command:
            case Rewind():
                return self.tree.rewind(command.chunk)
            case Switch():
                return self.tree.switch(command.branch)
            case MakeBranch():
                how: dict[str, Any] = {"transition": command.transition, "id": command.id}
                return self.tree.branch(command.chunk, prompt=command.prompt, **how)

    # Chunks.

    @property
    def _strength_now(self) -> float | None:
        return None if self.order.source is None else self._strength

    def _chunk_due(self) -> float:
        if self.state != "playing" and not self._steps:
            return math.inf
        session = self.tree.present.session
        if not has_enough(self.order.source, session):
            return math.inf
        return self._schedule.due(session.next_frames, stepping=self._steps > 0)

    def _at_an_end(self, engine: Host) -> bool:
        """Whether there is nothing to make: then it pauses or stops, and says so."""
        session = self.tree.present.session
        seconds = session.frames / self.fps
        if seconds >= self.limits.session_seconds:
            self._stop(engine, f"a video lasts at most {self.limits.session_seconds:g} seconds")
        elif self.order.seconds is not None and seconds >= self.order.seconds:
            self._rest(engine, "the timeline is at its end")
        elif is_used_up(self.order.source, session):
            self._rest(engine, "the clip is at its end")
        else:
            return False
        return True

    def _rest(self, engine: Host, reason: str) -> None:
        if self.order.at_end == "stop":
            return self._stop(engine, reason)
        self.state, self._steps = "paused", 0
        self._emit({"type": "paused", "reason": f"{reason}; go back or branch to go on"})

    def _stop(self, engine: Host, reason: str) -> None:
        self._stop_reason = reason
        self.end(None)
        engine.remove(self)

    def _make(self) -> None:
        branch, started = self.tree.present, self._clock()
        session = branch.session
        first_frame, chunk = session.frames, session.chunks
        self._follow_timeline(branch)
        if self.order.source is not None:
            feed(self.order.source, session, strength=self._strength)
        frames = session.next_chunk()
        piece = Piece(first_frame, len(frames))
        branch.pieces.append(piece)
        if not len(frames):  # all of it is held back
            return
        sequence, waited = self._schedule.made(len(frames), started=started)
        self._steps = max(0, self._steps - 1)
        measured = {"queue": waited, **{stage: session.timing[stage] for stage in _STAGES}}
        kept, now = session.kept, self._clock()
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
                how: dict[str, Any] = {"transition": moment.transition, "over": moment.over}
                self._emit(self.tree.set_prompt(moment.prompt, strength=self._strength_now, **how))

    def _complain(self, code: str, message: str) -> None:
        self._emit({"type": "error", "code": code, "message": message, "fatal": False})
