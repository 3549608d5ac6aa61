"""What a viewer and the server say to each other over the WebSocket `/v1/stream`.

A client's messages are JSON objects with a `type`, read strictly: an unknown key, a missing one, or
a value of another type is refused with one sentence. Pictures travel as binary packets, a
header of 20 bytes and the coded frame. Knows bytes and words; nothing of video or models.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from causvid.errors import UserError

SUBPROTOCOL = "causvid.v1"
TOKEN_PREFIX = "token."
LONGEST_KEY = 80
LARGEST_SEED = 2**53 - 1
"""The largest whole number that a browser holds exactly."""

Codec = Literal["h264", "webp", "jpeg"]
TransitionName = Literal["soft", "blend", "recache", "cut"]
Mode = Literal["text", "image", "extend", "edit", "camera"]
Pace = Literal["realtime", "fast"]

Text = Annotated[str, Field(max_length=100_000)]
Id = Annotated[str, Field(max_length=64)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Chunks = Annotated[int, Field(ge=1, le=64)]
Strength = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """A message or a body that is taken literally."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Hello(Strict):
    type: Literal["hello"]
    codecs: Annotated[tuple[Codec, ...], Field(min_length=1, max_length=8)]
    credits: Annotated[int, Field(ge=1, lt=2**31)]


class Start(Strict):
    type: Literal["start"]
    prompt: Text = ""
    seed: Seed | None = None
    image: Id | None = None
    video: Id | None = None
    mode: Mode = "text"
    strength: Strength | None = None
    pace: Pace = "realtime"
    timeline: dict[str, Any] | None = None


class Prompt(Strict):
    type: Literal["prompt"]
    prompt: Text
    transition: TransitionName = "soft"
    over: Chunks = 4
    id: Count = 0


class SetStrength(Strict):
    type: Literal["strength"]
    strength: Strength


class Pause(Strict):
    type: Literal["pause"]


class Resume(Strict):
    type: Literal["resume"]


class Step(Strict):
    type: Literal["step"]


class Rewind(Strict):
    type: Literal["rewind"]
    chunk: Count


class MakeBranch(Strict):
    type: Literal["branch"]
    chunk: Count
    prompt: Text | None = None
    transition: TransitionName = "soft"
    id: Count = 0


class Switch(Strict):
    type: Literal["switch"]
    branch: Count


class Ack(Strict):
    type: Literal["ack"]
    frame: Annotated[int, Field(ge=0, lt=2**32)]


class Stop(Strict):
    type: Literal["stop"]


Command: TypeAlias = Prompt | SetStrength | Pause | Resume | Step | Rewind | MakeBranch | Switch
"""What steers a video that has started."""
Message: TypeAlias = Hello | Start | Ack | Stop | Command
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def read_message(text: str | bytes) -> Message:
    """What a client said.

    Raises:
        UserError: it is no JSON object, or not exactly one of the messages.
    """
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        raise UserError(f"the message is not understood: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """The first thing wrong, without repeating what was sent (it may be a prompt)."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = place_of(first["loc"])
    return f"{where + ': ' if where else ''}{first['msg']}."


def place_of(keys: Sequence[str | int]) -> str:
    """Where in a message something is wrong, on one line whatever the sender called its keys."""
    named = (str(key) if str(key).isprintable() else ascii(key) for key in keys)
    return ".".join(name[:LONGEST_KEY] for name in named)


_HEADER = struct.Struct("<2sBBBBHIII")
_MAGIC, _VERSION = b"CV", 1
CODEC_NUMBERS: dict[Codec, int] = {"jpeg": 1, "webp": 2, "h264": 3}
KEY_FRAME, CHUNK_START = 1, 2


class Packet(Strict):
    """One coded frame with its place in the video."""

    codec: Codec
    flags: Annotated[int, Field(ge=0, le=3)] = 0
    branch: Annotated[int, Field(ge=0, lt=2**16)] = 0
    sequence: Annotated[int, Field(ge=0, lt=2**32)]
    frame: Annotated[int, Field(ge=0, lt=2**32)]
    milliseconds: Annotated[int, Field(ge=0, lt=2**32)]
    payload: bytes

    def pack(self) -> bytes:
        number = CODEC_NUMBERS[self.codec]
        place = (self.branch, self.sequence, self.frame, self.milliseconds)
        return _HEADER.pack(_MAGIC, _VERSION, number, self.flags, 0, *place) + self.payload


def read_packet(data: bytes) -> Packet:
    """The packet in these bytes.

    Raises:
        UserError: they are none.
    """
    if len(data) <= _HEADER.size:
        raise UserError(
            f"a packet has {len(data)} bytes; it must have a header of {_HEADER.size} and a frame."
        )
    magic, version, number, flags, zero, branch, sequence, frame, milliseconds = _HEADER.unpack_from(data)
    codec = next((name for name, known in CODEC_NUMBERS.items() if known == number), None)
    if magic != _MAGIC or version != _VERSION or codec is None or flags > 3 or zero != 0:
        raise UserError("a packet does not begin with 'C', 'V', version 1, a codec from 1 to 3, flags and 0.")
    return Packet(
        codec=codec, flags=flags, branch=branch, sequence=sequence, frame=frame,
        milliseconds=milliseconds, payload=data[_HEADER.size :],
    )  # fmt: skip
