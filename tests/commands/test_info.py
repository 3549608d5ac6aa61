"""`causvid info`: what a model takes, known before it is fetched."""

import json
import re

import pytest

from causvid.cli import main

ASK = ["info", "wan2.1-t2v-1.3b", "--size", "480x832", "--seconds", "5", "--device", "cpu"]


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))


def told(capsys, *words):
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_known_model_is_described_before_it_is_fetched(capsys):
    facts = told(capsys, *ASK, "--dtype", "bfloat16")
    memory = facts["memory"]

    assert facts["kind"] == "bidirectional many-step model"
    assert "causvid models pull wan2.1-t2v-1.3b" in facts["folder"]
    assert memory["weights"]["transformer"] == pytest.approx(
        2.87e9, rel=0.01
    )  # 1.42 billion, most of 2 bytes
    assert memory["weights"]["text"] == pytest.approx(11.36e9, rel=0.01)
    assert (memory["size"], memory["latent_frames"], memory["window"]) == ([480, 832], 21, None)
    parts = ("keys_and_values", "text_keys_and_values", "decoder_state")
    turns = max(memory["denoising"], memory["decoding"])
    assert memory["total"] == sum(memory["weights"].values()) + sum(memory[part] for part in parts) + turns


def test_a_smaller_window_takes_less(capsys):
    student = ["info", "self-forcing-wan-1.3b", "--device", "cpu", "--dtype", "bfloat16"]
    own, small = told(capsys, *student)["memory"], told(capsys, *student, "--window", "12")["memory"]

    assert own["window"] == 21
    assert small["keys_and_values"] * 21 == own["keys_and_values"] * 12


def test_people_are_told_in_lines(capsys):
    assert main([*ASK, "--dtype", "float32"]) == 0

    said = capsys.readouterr().out
    assert "480x832, float32 on cpu, 21 latent frames" in said
    assert "transformer's weights  5.7 GB" in said
    assert "text's weights         11.4 GB, which --offload text frees" in said

    assert main([*ASK, "--size", "4320x7680"]) == 0
    assert "too little for this" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "480x830"], "size 480x830.*multiple of 16"),
        (["--size", "big"], "size is 'big'"),
        (["--window", "12"], "bidirectional.*no window"),
        (["--seconds", "0"], "seconds is 0"),
    ],
)
def test_a_use_that_does_not_fit_the_model_is_one_line(words, message, capsys):

    assert main(["info", "wan2.1-t2v-1.3b", *words]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1
