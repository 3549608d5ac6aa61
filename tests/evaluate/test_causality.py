"""What comes later changes what was before, or does not."""

from evaluate.judged import worlds_student

from causvid.evaluate.causality import causality


def test_a_causal_model_keeps_its_beginning_whatever_comes():
    found = causality(worlds_student())

    assert found["holds"] and found["frames_before"] == 16
    for change in ("prompt", "noise"):
        assert found[change] == {"latents": True, "pixels": True, "largest_change": 0.0}


def test_a_bidirectional_model_fails():
    found = causality(worlds_student(layout=None, sigmas=()))

    assert not found["holds"]
    for change in ("prompt", "noise"):
        assert not found[change]["latents"] and found[change]["largest_change"] > 1e-3
