"""How a model is loaded: with a small decoder, without its text encoder, in which precision."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny_wan import AUTOENCODER, TRANSFORMER, tiny_wan

import causvid
from causvid.errors import UserError
from causvid.generate.machine import free_memory, pick_dtype
from causvid.models.convert import write_model
from causvid.models.preview import PreviewVAE
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles
from causvid.models.vae_taehv import TAEHVConfig, TAEHVDecoder

umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")
SIZES = replace(TRANSFORMER, text_width=umt5.WIDTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole Wan student of random weights."""
    home = tmp_path_factory.mktemp("wan")
    (home / "umt5").mkdir()
    text = umt5.tiny_umt5(home / "umt5")
    source = replace(
        tiny_wan(home, name="self-forcing-wan-1.3b", sizes=SIZES, size=(32, 16), text=UMT5Config()),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    return write_model(source, home / "wan", layout="diffusers")


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def small(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        decoder = TAEHVDecoder(TAEHVConfig(widths=(16, 12, 8, 8))).eval().requires_grad_(False)
    weights = {key.replace("layers.", "decoder.", 1): value for key, value in decoder.state_dict().items()}
    save_file(weights, tmp_path / "taew2_1.safetensors")
    return decoder, tmp_path / "taew2_1.safetensors"


def test_the_small_decoder_shows_the_same_latents(folder, small):
    decoder, path = small
    full, quick = causvid.load(folder, device="cpu"), causvid.load(folder, device="cpu", vae=path)
    latents = torch.randn(1, 3, 16, 4, 2)

    shown = quick.generate("a red ball", seconds=0.3)

    assert shown.shape == (5, 32, 16, 3)
    assert not torch.equal(shown, full.generate("a red ball", seconds=0.3))
    assert torch.equal(quick.bundle.vae.decode(latents), decoder.decode(latents))
    stream = quick.bundle.vae.decoder()
    pushed = torch.cat([stream.push(latents[:, :1]), stream.push(latents[:, 1:])], 1)
    torch.testing.assert_close(pushed, decoder.decode(latents))


def test_encoding_is_left_to_the_models_own_autoencoder(folder, small):
    full, quick = causvid.load(folder, device="cpu"), causvid.load(folder, device="cpu", vae=small[1])
    video = torch.rand(1, 5, 3, 32, 16)

    assert torch.equal(quick.bundle.vae.encode(video), full.bundle.vae.encode(video))
    assert torch.equal(quick.bundle.vae.encoder().push(video), full.bundle.vae.encode(video))


def test_a_model_with_a_small_decoder_saves_its_own_autoencoder(folder, small, tmp_path):
    quick = causvid.load(folder, device="cpu", vae=small[1])

    quick.save(tmp_path / "saved")

    saved = causvid.load(tmp_path / "saved", device="cpu")
    assert not isinstance(saved.bundle.vae, PreviewVAE)
    video = torch.rand(1, 1, 3, 32, 16)
    assert torch.equal(saved.bundle.vae.encode(video), quick.bundle.vae.encode(video))


def test_the_small_decoder_is_found_beside_the_model_and_in_the_hubs_cache(folder, small, tmp_path):
    with pytest.raises(UserError, match=r"neither in .*wan nor in the hub's cache.*models pull taew2\.1"):
        causvid.load(folder, device="cpu", vae="tiny")
    cached = tmp_path / "hub/models--lightx2v--Autoencoders/snapshots/main"
    cached.mkdir(parents=True)
    (cached / "taew2_1.safetensors").write_bytes(small[1].read_bytes())
    in_cache = causvid.load(folder, device="cpu", vae="tiny")

    (folder / "taew2_1.safetensors").write_bytes(small[1].read_bytes())
    (cached / "taew2_1.safetensors").write_bytes(b"damaged, and not looked at")
    beside = causvid.load(folder, device="cpu", vae="tiny")
    (folder / "taew2_1.safetensors").unlink()

    latents = torch.randn(1, 2, 16, 4, 2)
    assert torch.equal(in_cache.bundle.vae.decode(latents), beside.bundle.vae.decode(latents))


def test_what_is_no_small_decoder_is_one_line(folder, tmp_path):
    with pytest.raises(UserError, match=r"no\.pth does not exist; give `tiny`"):
        causvid.load(folder, device="cpu", vae="no.pth")
    with pytest.raises(UserError, match="this model's own is small already"):
        causvid.load("tiny", device="cpu", vae="tiny")
    with pytest.raises(UserError, match=r"taew2\.1 is a decoder and no model"):
        causvid.load("taew2.1")
    narrow = TAEHVDecoder(TAEHVConfig(widths=(8, 8, 8, 8), latent_channels=4))
    weights = {key.replace("layers.", "decoder.", 1): value for key, value in narrow.state_dict().items()}
    save_file(weights, tmp_path / "narrow.safetensors")
    with pytest.raises(UserError, match="latents of another kind"):
        causvid.load(folder, device="cpu", vae=tmp_path / "narrow.safetensors")
    assert AUTOENCODER.latent_channels == 16


def test_an_offloaded_text_encoder_is_gone_once_prompts_are_encoded(folder):
    kept, freed = (causvid.load(folder, device="cpu", offload=what) for what in ("none", "text"))

    assert torch.equal(kept.bundle.text(["a red ball"]).tokens, freed.bundle.text(["a red ball"]).tokens)
    session = freed.session("it snows")
    session.set_prompt("a blue box on the sand")
    session.next_chunk()

    assert kept.bundle.text.loaded and not freed.bundle.text.loaded


def test_only_a_text_encoder_can_be_offloaded():
    with pytest.raises(UserError, match="offload is 'vae'; accepted: none, text"):
        causvid.load("tiny", device="cpu", offload="vae")


def test_precision_fits_the_device_and_its_memory(folder):
    cpu = torch.device("cpu")

    assert pick_dtype("auto", cpu, parameters=4_000_000) == torch.float32
    assert pick_dtype("auto", cpu, parameters=free_memory()) == torch.bfloat16
    assert pick_dtype("auto", torch.device("cuda"), parameters=1) == torch.bfloat16
    assert pick_dtype("bfloat16", cpu, parameters=1) == torch.bfloat16
    assert pick_dtype(torch.float16, cpu, parameters=1) == torch.float16
    with pytest.raises(UserError, match="dtype is 'float8'; accepted: auto, float32, bfloat16"):
        causvid.load(folder, dtype="float8")
