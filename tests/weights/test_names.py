"""Known models: found in the hub's cache without a network, and every lack is one line with what to do."""

import sys
import types

import pytest
from tiny_hub import COMMIT, fetched
from tiny_wan import student_checkpoint, wan_folder

from causvid.errors import UserError
from causvid.models.bundle import load_bundle, open_model
from causvid.models.wan import PRESETS
from causvid.weights.hub import act, listing, missing_files, pull, verify
from causvid.weights.names import KNOWN, TEXT, TOKENIZER, find_cached, hub_cache, licence_note


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def wan(cache, tmp_path):
    folder = wan_folder(tmp_path / "wan", layout="original")
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "causvid.toml"}
    return fetched(
        cache, "Wan-AI/Wan2.1-T2V-1.3B", {**files, TEXT: b"umt5", f"{TOKENIZER}/tokenizer.json": b"{}"}
    )


def complaint(act):
    with pytest.raises(UserError) as error:
        act()
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_fetched_model_is_opened_by_name_and_by_its_id(wan):
    by_name, by_id = open_model("wan2.1-t2v-1.3b"), open_model("Wan-AI/Wan2.1-T2V-1.3B")

    assert by_name.where == by_id.where == wan
    assert by_name.spec.name == "wan2.1-t2v-1.3b"
    assert by_name.text.identity == f"Wan-AI/Wan2.1-T2V-1.3B@{COMMIT}"
    assert set(by_name.weights) == {"transformer", "vae"}


def test_a_student_stands_on_its_base_and_its_licence_is_said(cache, wan, tmp_path, capsys):
    path, _ = student_checkpoint(tmp_path / "model.pt", entries=("generator", "critic"))
    fetched(cache, "tianweiy/CausVid", {"autoregressive_checkpoint/model.pt": path.read_bytes()})

    loaded = load_bundle("causvid-wan-1.3b")

    assert loaded.spec.sigmas == PRESETS["causvid-wan-1.3b"].sigmas == (1.0, 0.757, 0.522)
    assert loaded.vae is not None and loaded.text is not None
    assert capsys.readouterr().err == (
        "causvid: the weights of causvid-wan-1.3b are licensed CC BY-NC 4.0: no commercial use.\n"
    )
    assert licence_note("wan2.1-t2v-14b") is None


def test_what_was_not_fetched_is_said_with_the_command_that_does(cache):
    message = complaint(lambda: load_bundle("wan2.1-t2v-14b"))

    assert "wan2.1-t2v-14b is not on this machine" in message
    assert "Run `causvid models pull wan2.1-t2v-14b` once (about 69 GB)" in message


def test_a_student_without_its_base_names_the_base(cache, tmp_path):
    path, _ = student_checkpoint(tmp_path / "model.pt")
    fetched(cache, "tianweiy/CausVid", {"autoregressive_checkpoint/model.pt": path.read_bytes()})

    assert "causvid models pull wan2.1-t2v-1.3b" in complaint(lambda: load_bundle("causvid-wan-1.3b"))


def test_a_file_that_is_missing_from_the_cache_is_named(wan):
    (wan / TEXT).unlink()

    assert missing_files("wan2.1-t2v-1.3b") == [TEXT]
    assert f"{TEXT} of Wan-AI/Wan2.1-T2V-1.3B is missing" in complaint(lambda: load_bundle("wan2.1-t2v-1.3b"))


def test_a_local_folder_comes_before_a_known_name(cache, tmp_path, monkeypatch):
    wan_folder(tmp_path / "wan2.1-t2v-1.3b")
    monkeypatch.chdir(tmp_path)

    assert open_model("wan2.1-t2v-1.3b").spec.transformer.width == 48


def test_the_list_says_where_from_how_large_under_which_licence_and_whether_here(wan):
    lines = listing()

    assert list(lines) == ["tiny", *KNOWN] == ["tiny", *PRESETS, "taew2.1"]
    assert lines["wan2.1-t2v-1.3b"] == (
        "Wan-AI/Wan2.1-T2V-1.3B (revision main, whatever that is today); about 17.6 GB; Apache-2.0; here"
    )
    assert "on top of wan2.1-t2v-1.3b" in lines["self-forcing-wan-1.3b"]
    assert "not here: checkpoints/self_forcing_dmd.pt is missing" in lines["self-forcing-wan-1.3b"]


def test_what_was_fetched_can_be_verified_and_damage_is_named(wan):
    assert verify("wan2.1-t2v-1.3b")["files compared"] >= 5

    (wan / "Wan2.1_VAE.pth").resolve().write_bytes(b"something else")
    assert "Wan2.1_VAE.pth is not what was published" in complaint(lambda: verify("wan2.1-t2v-1.3b"))
    assert "is not here" in complaint(lambda: verify("wan2.1-t2v-14b"))
    assert "no known model is called 'wan'" in complaint(lambda: verify("wan"))


def test_the_places_of_the_cache_are_the_hubs_own(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub_cache() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert hub_cache() == tmp_path / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert hub_cache() == tmp_path / "cache"
    assert find_cached("owner/name") is None


def hub_that(monkeypatch, act):
    """The hub's client, of which nothing but this one call is used."""
    client = types.ModuleType("huggingface_hub")
    client.snapshot_download = act
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)


def test_a_pull_fetches_the_base_first_and_only_what_is_needed(cache, wan, tmp_path, monkeypatch):
    asked = []
    path, _ = student_checkpoint(tmp_path / "model.pt")

    def fetch(hub, *, revision, allow_patterns):
        asked.append((hub, revision, allow_patterns))
        if hub == "tianweiy/CausVid":
            return str(fetched(cache, hub, {"autoregressive_checkpoint/model.pt": path.read_bytes()}))
        return str(wan)

    hub_that(monkeypatch, fetch)
    said = []
    act("pull", "causvid-wan-1.3b", say=said.append)

    assert [hub for hub, *_ in asked] == ["Wan-AI/Wan2.1-T2V-1.3B", "tianweiy/CausVid"]
    assert asked[1][2] == ["autoregressive_checkpoint/model.pt", "LICENSE*"]
    assert "about 5.7 GB" in said[0] and "no commercial use" in said[1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", "is gated: accept its terms at https://huggingface.co/Wan-AI"),
        ("RepositoryNotFoundError", "the hub has no Wan-AI/Wan2.1-T2V-14B at revision main"),
        ("ConnectError", "could not be fetched (ConnectError: no route)"),
    ],
)
def test_a_fetch_that_fails_says_what_to_do(cache, monkeypatch, kind, message):
    def fail(*_, **__):
        raise type(kind, (Exception,), {})("no route\nand a lot more")

    hub_that(monkeypatch, fail)
    assert message in complaint(lambda: pull("wan2.1-t2v-14b"))


def test_a_pull_without_the_hubs_client_names_the_extra(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    assert 'pip install "causvid[wan]"' in complaint(lambda: pull("wan2.1-t2v-14b"))


def test_pull_and_verify_need_a_name(cache):
    assert "which model?" in complaint(lambda: act("pull", None, say=print))
    assert list(act("list", None, say=print)) == ["tiny", *KNOWN]
