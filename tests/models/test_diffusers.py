"""The living oracles: diffusers and transformers read what we write, we read what they write, and all agree.

Small random networks in float32, in real folders of `save_pretrained`. That it is *small* hides nothing
but size: the same classes build the released models.
"""

import json
from dataclasses import replace

import pytest
import torch
from tiny_wan import AUTOENCODER, TRANSFORMER, tiny_wan, wan_folder

from causvid.generate.rollout import rollout
from causvid.models.bundle import load_bundle
from causvid.models.convert import convert, write_model
from causvid.models.spec import UMT5Config
from causvid.models.text_files import TextFiles
from causvid.models.text_umt5 import UMT5Text
from causvid.nn.text import TextTokens

diffusers = pytest.importorskip("diffusers", reason="diffusers, of the extra dev, is not installed")
transformers = pytest.importorskip("transformers", reason="the extra wan is not installed")
umt5 = pytest.importorskip("tiny_umt5", reason="the extra wan is not installed")

NETWORK = 5e-6
"""Relative L2 of one forward: diffusers computes the timestep's sinusoid in float32, we in float64."""
PIXELS = 1e-5
"""Largest difference of pixels and latents through the autoencoder."""
CLIP = 2e-5
"""Relative L2 after several guided steps, each with the error of a forward."""
FRAMES = 3


def clip():
    rng = torch.Generator().manual_seed(1)
    latents = torch.randn(2, FRAMES, 16, 4, 6, generator=rng)
    text = torch.zeros(2, TRANSFORMER.text_rows, TRANSFORMER.text_width)
    text[:, :7] = torch.randn(2, 7, TRANSFORMER.text_width, generator=rng)
    return latents, torch.tensor([0.25, 0.875]), text


def distance(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def agree(ours, transformer, vae):
    """One forward, one decoding and one encoding of the same numbers."""
    latents, sigma, text = clip()
    mine = ours.denoiser.transformer(
        latents, sigma[:, None].expand(-1, FRAMES), TextTokens(text, torch.full((2,), 7))
    )
    with torch.no_grad():
        theirs = transformer(latents.transpose(1, 2), 1000 * sigma, text).sample.transpose(1, 2)
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (AUTOENCODER.mean, AUTOENCODER.std))
        raw = latents.transpose(1, 2) * std + mean
        seen = vae.decode(raw).sample.transpose(1, 2)
        again = (vae.encode(seen.transpose(1, 2)).latent_dist.mode() - mean) / std
    assert distance(mine, theirs) < NETWORK
    torch.testing.assert_close(ours.vae.decode(latents), seen, atol=PIXELS, rtol=0)
    torch.testing.assert_close(ours.vae.encode(seen), again.transpose(1, 2), atol=PIXELS, rtol=1e-5)


def parts(folder):
    return (
        diffusers.WanTransformer3DModel.from_pretrained(folder, subfolder="transformer"),
        diffusers.AutoencoderKLWan.from_pretrained(folder, subfolder="vae"),
    )


@pytest.mark.parametrize("shard", [60_000, 10**9])
def test_diffusers_reads_what_we_write(tmp_path, shard):
    folder = wan_folder(tmp_path / "ours", shard=shard)

    agree(load_bundle(folder), *parts(folder))


def test_we_read_what_diffusers_writes(tmp_path):
    torch.manual_seed(3)
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=TRANSFORMER.heads,
        attention_head_dim=TRANSFORMER.width // TRANSFORMER.heads,
        text_dim=TRANSFORMER.text_width,
        freq_dim=TRANSFORMER.frequency_width,
        ffn_dim=TRANSFORMER.ffn,
        num_layers=TRANSFORMER.layers,
    ).eval()
    vae = diffusers.AutoencoderKLWan(base_dim=AUTOENCODER.width).eval()
    for network in (transformer, vae):
        for weights in network.parameters():
            torch.nn.init.normal_(weights, std=0.15)
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    pipeline = diffusers.WanPipeline(
        tokenizer=None, text_encoder=None, vae=vae, scheduler=scheduler, transformer=transformer
    )
    pipeline.save_pretrained(tmp_path / "theirs", max_shard_size="60KB")

    loaded = load_bundle(tmp_path / "theirs")

    assert len(list((tmp_path / "theirs/transformer").glob("*-of-*"))) > 1
    assert loaded.spec.schedule.shift == 3.0
    assert loaded.spec.transformer == TRANSFORMER and loaded.spec.vae == AUTOENCODER
    agree(loaded, transformer, vae)


def test_what_diffusers_wrote_comes_back_to_it_unchanged_from_every_layout(tmp_path):
    start = wan_folder(tmp_path / "start")
    for part in parts(start):
        part.save_pretrained(tmp_path / "theirs" / ("vae" if "base_dim" in part.config else "transformer"))
    for layout in ("ours", "original"):
        there = convert(tmp_path / "theirs", tmp_path / layout, layout=layout)
        back = convert(there, tmp_path / f"{layout}-back", layout="diffusers")

        for mine, theirs in zip(parts(back), parts(start), strict=True):
            found = mine.state_dict()
            assert found.keys() == theirs.state_dict().keys()
            assert all(torch.equal(found[name], value) for name, value in theirs.state_dict().items())


@pytest.fixture
def whole(tmp_path):
    """A folder of ours in diffusers' layout, text encoder and tokenizer included."""
    (tmp_path / "umt5").mkdir()
    text = umt5.tiny_umt5(tmp_path / "umt5")
    source = replace(
        tiny_wan(
            tmp_path, sizes=replace(TRANSFORMER, text_width=umt5.WIDTH), size=(32, 16), text=UMT5Config()
        ),
        text=TextFiles(weights=text.transformers, tokenizer=text.tokenizer),
    )
    return write_model(source, tmp_path / "wan", layout="diffusers")


def their_pipeline(folder, scheduler):
    transformer, vae = parts(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer/tokenizer.json"), pad_token="<pad>", eos_token="</s>"
    )
    encoder = transformers.UMT5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    pipeline = diffusers.WanPipeline(
        tokenizer=tokenizer, text_encoder=encoder, vae=vae, scheduler=scheduler, transformer=transformer
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_transformers_reads_the_text_encoder_we_write_and_both_give_the_same_rows(whole, tmp_path):
    back = convert(
        convert(whole, tmp_path / "release", layout="original"), tmp_path / "back", layout="diffusers"
    )
    pipeline = their_pipeline(back, diffusers.FlowMatchEulerDiscreteScheduler())
    prompt = "a red ball  on the sand &amp; a blue box"

    theirs, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)
    ours = UMT5Text(whole / "text_encoder", whole / "tokenizer", dtype=torch.float32, rows=512, cache=None)(
        [prompt]
    )

    assert 0 < ours.lengths.item() < 20
    assert not theirs[:, ours.lengths.item() :].any()
    assert distance(ours.tokens, theirs) < NETWORK


def test_a_guided_clip_is_the_clip_that_their_pipeline_makes(whole):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=8.0)
    pipeline = their_pipeline(whole, scheduler)
    ours = load_bundle(whole)
    noise = torch.randn(1, 2, 16, 4, 2, generator=torch.Generator().manual_seed(5))
    words = ("a red ball", "a blue box")
    rows = [
        pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=512)[0]
        for text in words
    ]

    with torch.no_grad():
        theirs = pipeline(
            prompt_embeds=rows[0],
            negative_prompt_embeds=rows[1],
            height=32,
            width=16,
            num_frames=5,
            num_inference_steps=4,
            guidance_scale=3.0,
            latents=noise.transpose(1, 2).clone(),
            output_type="latent",
        ).frames
        text, negative = (TextTokens(found, torch.tensor([4])) for found in rows)
        mine = rollout(
            ours.denoiser,
            noise,
            text,
            layout=None,
            sigmas=scheduler.sigmas.tolist()[:-1],
            renoise="predicted",
            negative=negative,
            guidance=3.0,
        )

    assert len(scheduler.sigmas) == 5
    assert distance(mine.transpose(1, 2), theirs) < CLIP


def test_diffusers_loads_our_folder_as_a_pipeline(tmp_path):
    folder = wan_folder(tmp_path / "ours")

    pipeline = diffusers.WanPipeline.from_pretrained(folder, text_encoder=None, tokenizer=None)

    assert type(pipeline.transformer).__name__ == "WanTransformer3DModel"
    assert pipeline.scheduler.config.flow_shift == 8.0
    assert json.loads((folder / "model_index.json").read_text())["vae"] == ["diffusers", "AutoencoderKLWan"]
