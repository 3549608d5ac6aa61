"""What to look at beside the numbers."""

import pytest
import torch
from PIL import Image

from causvid.evaluate.pictures import CURVES, Panel, draw_curves, draw_panels, save_sheet


def test_a_sheet_has_a_row_for_every_clip(tmp_path):
    clips = list(torch.zeros(3, 12, 16, 16, 3, dtype=torch.uint8))

    save_sheet(clips, ["one", "two", "three"], tmp_path / "sheets" / "model.png")
    save_sheet(clips[:1], ["one"], tmp_path / "one.png")

    three, one = Image.open(tmp_path / "sheets" / "model.png"), Image.open(tmp_path / "one.png")
    assert three.height == 3 * one.height and three.width == one.width


def test_there_is_a_plot_for_every_curve(tmp_path):
    pytest.importorskip("matplotlib")
    records = {arm: [{"curves": {name: [0.5, 0.6] for name in CURVES}}] * 3 for arm in ("model", "truth")}

    made = draw_curves(records, tmp_path / "plots")

    assert [path.name for path in made] == [f"{name}.png" for name in CURVES]
    assert all(Image.open(path).width > 300 for path in made)


def test_panels_share_their_time_and_stand_one_under_another(tmp_path):
    pytest.importorskip("matplotlib")
    one = Panel("spread", {"a ball": ([1.0, 2.0, 3.0], [1.0, 1.1, 0.9])}, band=(0.85, 1.15))
    gap = Panel("text", {"a ball": ([1.0, 2.0, 3.0], [1.0, float("nan"), 1.0])})

    few, more = (draw_panels([one, gap][:n], tmp_path / f"{n}.png") for n in (1, 2))

    assert Image.open(more).height > 1.5 * Image.open(few).height
