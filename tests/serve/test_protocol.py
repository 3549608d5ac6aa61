"""Messages and packets: what is said is what is heard, and nothing else is accepted."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causvid.errors import UserError
from causvid.serve.protocol import LARGEST_SEED, Packet, Prompt, Start, place_of, read_message, read_packet


def sent(**message):
    return read_message(json.dumps(message))


def test_a_message_is_read_with_its_defaults():
    assert sent(type="start", prompt="a red ball") == Start(type="start", prompt="a red ball")
    assert sent(type="prompt", prompt="it snows", transition="blend", over=3, id=9) == Prompt(
        type="prompt", prompt="it snows", transition="blend", over=3, id=9
    )


@pytest.mark.parametrize(
    "message",
    [
        {"type": "pause", "now": True},
        {"type": "sing"},
        {"prompt": "no type"},
        {"type": "start", "prompt": 3},
        {"type": "start", "prompt": "x", "seed": 1.5},
        {"type": "start", "prompt": "x", "seed": True},
        {"type": "start", "prompt": "x", "seed": "7"},
        {"type": "start", "prompt": "x", "seed": -1},
        {"type": "start", "prompt": "x", "seed": LARGEST_SEED + 1},
        {"type": "start", "prompt": "x", "mode": "dream"},
        {"type": "strength", "strength": 1.1},
        {"type": "rewind", "chunk": "3"},
        {"type": "rewind"},
        {"type": "ack", "frame": -1},
        {"type": "hello", "codecs": [], "credits": 3},
        {"type": "hello", "codecs": ["h265"], "credits": 3},
        [],
        None,
    ],
)
def test_what_is_not_exactly_a_message_is_refused_in_one_sentence(message):
    with pytest.raises(UserError, match="not understood") as refused:
        read_message(json.dumps(message))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize("text", ["", "{", '{"type": "strength", "strength": NaN}', "\x00", "[" * 5000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(UserError, match="not understood"):
        read_message(text)


def test_a_refusal_does_not_repeat_the_prompt():
    with pytest.raises(UserError) as refused:
        sent(type="start", prompt="my secret", extra=1)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=200))
def test_any_text_is_a_message_or_a_user_error(text):
    with suppress(UserError):
        read_message(text)


@given(
    codec=st.sampled_from(["jpeg", "webp", "h264"]),
    flags=st.integers(0, 3),
    branch=st.integers(0, 2**16 - 1),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    payload=st.binary(min_size=1, max_size=50),
)
def test_a_packet_is_read_as_it_was_packed(codec, flags, branch, numbers, payload):
    sequence, frame, milliseconds = numbers
    packet = Packet(
        codec=codec, flags=flags, branch=branch, sequence=sequence, frame=frame,
        milliseconds=milliseconds, payload=payload,
    )  # fmt: skip

    data = packet.pack()

    assert read_packet(data) == packet
    assert len(data) == 20 + len(payload)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_a_user_error(data):
    with suppress(UserError):
        assert read_packet(data).pack() == data


def test_a_packet_is_laid_out_as_the_page_reads_it():
    packet = Packet(
        codec="h264", flags=3, branch=0x0102, sequence=0x03040506, frame=0x0708090A,
        milliseconds=0x0B0C0D0E, payload=b"x",
    )  # fmt: skip
    assert packet.pack() == bytes.fromhex("4356 01 03 03 00 0201 06050403 0a090807 0e0d0c0b") + b"x"


def test_where_something_is_wrong_is_one_line_whatever_its_key_is_called():
    assert place_of(("body", "a\nb", 0)) == "body.'a\\nb'.0"
    assert len(place_of(("x" * 1000,))) == 80
