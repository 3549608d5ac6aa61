"""The loop: interrupted and continued is uninterrupted, failures are counted, folders are kept."""

import json
import shutil
import signal
import sys
import types
from dataclasses import replace

import pytest
import torch
from tiny_training import ALONE, Words, loop, trained

from causvid.errors import UserError
from causvid.models.bundle import load_bundle
from causvid.train.faults import NON_FINITE_LIMIT
from causvid.train.optim import RoleOptimizer
from causvid.train.parallel import ParallelConfig
from causvid.train.runs import Run
from causvid.train.stage import WHOLE, Loss
from causvid.train.trainer import export_newest, train


class Disturbed(Words):
    """Something happens at one step."""

    def __init__(self, step, event):
        super().__init__()
        self.step, self.event = step, event

    def batch(self, step, rng, share=WHOLE):
        if step == self.step:
            self.event()
        return super().batch(step, rng, share)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def terminate():
    signal.raise_signal(signal.SIGTERM)


def lose_power():
    raise RuntimeError("the process is gone")


def flat(value, name=""):
    """The leaves of nested dicts and lists, by path."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, inner in items for k, v in flat(inner, f"{name}.{key}").items()}
    return {name: value}


def same(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name], name


def metrics(run):
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    of_the_machine = ("seconds", "machine")
    return [{key: value for key, value in line.items() if key not in of_the_machine} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(Words(), tmp_path_factory.mktemp("whole") / "run", loop())


@pytest.mark.parametrize("event", [press_ctrl_c, terminate])
@pytest.mark.parametrize("step", [0, 5])
def test_a_run_stopped_by_a_signal_continues_to_exactly_the_same_end(tmp_path, uninterrupted, step, event):
    with pytest.raises(KeyboardInterrupt):
        trained(Disturbed(step, event), tmp_path / "run", loop())
    assert Run(tmp_path / "run", loop()).latest()["step"] == step + 1

    run = trained(Words(), tmp_path / "run", loop())

    same(run.latest(), uninterrupted.latest())
    assert metrics(run) == metrics(uninterrupted)


@pytest.mark.parametrize("step", [2, 4, 7])
def test_a_run_that_died_continues_from_its_checkpoint_to_exactly_the_same_end(tmp_path, uninterrupted, step):
    with pytest.raises(RuntimeError, match="the process is gone"):
        trained(Disturbed(step, lose_power), tmp_path / "run", loop())

    run = trained(Words(), tmp_path / "run", loop())

    same(run.latest(), uninterrupted.latest())
    assert metrics(run) == metrics(uninterrupted)
    assert [line["step"] for line in metrics(run)] == list(range(8))


def test_signals_are_handled_as_before_once_training_has_ended(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trained(Words(), tmp_path / "run", loop(steps=1))

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_death_while_a_checkpoint_is_written_is_harmless(tmp_path, uninterrupted):
    with pytest.raises(RuntimeError):
        trained(Disturbed(6, lose_power), tmp_path / "run", loop())
    half = tmp_path / "run" / "checkpoints" / "step_000006"
    half.mkdir()
    (half / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"half of it")

    run = trained(Words(), tmp_path / "run", loop())

    same(run.latest(), uninterrupted.latest())


def test_a_death_while_a_metric_is_written_is_harmless(tmp_path, uninterrupted):
    with pytest.raises(RuntimeError):
        trained(Disturbed(6, lose_power), tmp_path / "run", loop())
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "seco')

    assert metrics(trained(Words(), tmp_path / "run", loop())) == metrics(uninterrupted)


def test_two_checkpoints_are_kept(tmp_path):
    run = trained(Words(), tmp_path / "run", loop(checkpoint_every=2))

    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["step_000006", "step_000008"]


def test_another_configuration_in_the_same_folder_is_refused_with_the_differences(tmp_path):
    Run(tmp_path / "run", loop())

    with pytest.raises(UserError) as error:
        Run(tmp_path / "run", loop(steps=9, seed=3))

    message = str(error.value)
    assert (
        "was begun with another configuration: seed is 0 there and 3 here; steps is 8 there and 9 here"
        in message
    )
    assert "\n" not in message


def test_the_export_is_a_model_with_its_provenance(uninterrupted):
    bundle = load_bundle(uninterrupted.folder)

    facts = bundle.spec.provenance["text"]
    assert facts["recipe"] == "words" and facts["steps"] == 8 and facts["ranks"] == 1
    assert {"command", "commit", "torch", "python", "hardware", "hours"} <= facts.keys()


def test_the_model_of_a_checkpoint_can_be_had_before_the_end(tmp_path, uninterrupted):
    where = {"ranks": ALONE, "device": torch.device("cpu"), "label": "words"}
    run = Run(tmp_path / "run", loop())
    with pytest.raises(UserError, match="holds no complete checkpoint yet"):
        export_newest(Words(), loop(), run, tmp_path / "early", **where)
    with pytest.raises(RuntimeError):
        trained(Disturbed(6, lose_power), tmp_path / "run", loop())

    export_newest(Words(), loop(), run, tmp_path / "early", **where)

    exported, averages = load_bundle(tmp_path / "early"), run.latest()["optimizers"]["text"]["ema"]
    assert exported.spec.provenance["text"]["steps"] == 4
    assert torch.equal(exported.text.state_dict()["embed.weight"], averages["text.embed.weight"])
    same(trained(Words(), tmp_path / "run", loop()).latest(), uninterrupted.latest())


def test_what_is_exported_is_the_average_and_training_goes_on_with_the_weights(uninterrupted):
    saved = uninterrupted.latest()
    name = "embed.weight"

    exported = load_bundle(uninterrupted.folder).text.state_dict()[name]

    assert torch.equal(exported, saved["optimizers"]["text"]["ema"][f"text.{name}"])
    assert not torch.equal(exported, saved["modules"]["text"][f"text.{name}"])


def test_a_preview_changes_nothing(tmp_path, uninterrupted):
    run = trained(Words(), tmp_path / "run", loop(preview_every=4))

    assert len(list(run.previews.glob("step_*.png"))) == 2
    assert torch.equal(
        run.latest()["modules"]["text"]["text.embed.weight"],
        uninterrupted.latest()["modules"]["text"]["text.embed.weight"],
    )


def test_logged_values_are_means_over_the_steps_since_the_last_line(tmp_path, uninterrupted):
    run = trained(Words(), tmp_path / "run", loop(log_every=4))

    fine = [line["text.loss"] for line in metrics(uninterrupted)]
    assert [line["step"] for line in metrics(run)] == [3, 7]
    assert [line["text.loss"] for line in metrics(run)] == pytest.approx(
        [sum(fine[:4]) / 4, sum(fine[4:]) / 4]
    )


class Failing(Words):
    """A stage of two roles, one of which has a loss that is not finite at some steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.step = steps, 0
        self.other = torch.nn.Linear(2, 2)
        self.trainable = {"text": self.model, "other": self.other}

    def roles(self, step):
        return ("text", "other")

    def batch(self, step, rng, share=WHOLE):
        self.step = step
        return super().batch(step, rng, share)

    def loss(self, role, batch, rng):
        if role == "other":
            return Loss(self.other(torch.ones(2)).square().sum())
        loss = super().loss(role, batch, rng)
        return Loss(loss.value * float("nan"), loss.metrics) if self.step in self.steps else loss


def both(**changes):
    config = loop(**changes)
    return replace(config, optimizers=dict.fromkeys(("text", "other"), config.optimizers["text"]))


def test_a_loss_that_is_not_finite_is_skipped_and_counted(tmp_path):
    run = trained(Failing({3, 5}), tmp_path / "run", both())

    assert run.latest()["skipped"] == 2
    assert run.latest()["optimizers"]["text"]["updates"] == 6
    assert run.latest()["optimizers"]["other"]["updates"] == 8
    assert "text.loss" not in metrics(run)[3] and metrics(run)[3]["skipped"] == 1
    assert metrics(run)[-1]["skipped"] == 2
    assert "NaN" not in (run.folder / "metrics.jsonl").read_text()


def test_a_run_stops_when_one_role_fails_too_often_in_a_row_however_well_the_others_do(tmp_path):
    with pytest.raises(UserError, match=f"the text's loss was not finite {NON_FINITE_LIMIT} times in a row"):
        trained(Failing(set(range(2, 100))), tmp_path / "run", both(steps=40))


def test_a_role_without_an_optimiser_is_refused(tmp_path):
    config = loop("txet")

    with pytest.raises(UserError, match=r"has tables \['txet'\]; this stage trains \['text'\]"):
        train(Words(), config, Run(tmp_path, config), ranks=ALONE, device=torch.device("cpu"), label="words")


def test_a_batch_of_two_shares_is_the_mean_of_both(tmp_path):
    run = trained(Words(), tmp_path / "two", loop(steps=1, ranks=2))
    one = trained(Words(), tmp_path / "one", loop(steps=1))

    assert run.latest()["optimizers"]["text"]["updates"] == 1
    assert metrics(run)[0]["text.loss"] != metrics(one)[0]["text.loss"]
    assert load_bundle(run.folder).spec.provenance["text"]["ranks"] == 2


def test_four_ranks_are_one_rank_four_times(tmp_path):
    four = trained(Words(), tmp_path / "four", loop(steps=2, ranks=4))
    again = trained(Words(), tmp_path / "again", loop(steps=2, ranks=1, accumulation=4))

    same(four.latest(), again.latest())


class Line(Words):
    """One parameter for each of eight samples, which shares divide among themselves in order."""

    def __init__(self, micro):
        super().__init__()
        self.line, self.micro = torch.nn.Linear(8, 1), micro
        torch.nn.init.ones_(self.line.weight)
        torch.nn.init.zeros_(self.line.bias)
        self.trainable = {"text": self.line}

    def batch(self, step, rng, share=WHOLE):
        return torch.eye(8)[share.number * self.micro : (share.number + 1) * self.micro]

    def loss(self, role, batch, rng):
        return Loss(self.line(batch).square().mean())

    def export(self, provenance):
        return Words().export(provenance)


def test_four_times_one_sample_is_once_four_samples(tmp_path):
    runs = [
        trained(Line(micro), tmp_path / str(micro), loop(steps=3, ranks=1, accumulation=4 // micro))
        for micro in (1, 4)
    ]

    one, four = (
        {**run.latest()["modules"]["text"], **run.latest()["optimizers"]["text"]["ema"]} for run in runs
    )
    for name, value in one.items():
        torch.testing.assert_close(value, four[name], atol=1e-6, rtol=1e-6)
    assert [line["text.gradient"] for line in metrics(runs[0])] == pytest.approx(
        [line["text.gradient"] for line in metrics(runs[1])], rel=1e-6
    )


def train_with_batch(folder, **changes):
    config = loop(steps=1, **changes)
    train(
        Words(), config, Run(folder, config), ranks=ALONE, device=torch.device("cpu"), label="words", micro=4
    )


def test_what_a_step_is_made_of_is_said_and_checked(tmp_path, capsys):
    train_with_batch(tmp_path / "right", ranks=3, accumulation=2, effective_batch=24)

    assert "words: batch of 24 = 1 ranks x 4 samples x 6 accumulated" in capsys.readouterr().err
    with pytest.raises(UserError, match="effective_batch is 32, but a step has 24 samples"):
        train_with_batch(tmp_path / "wrong", ranks=3, accumulation=2, effective_batch=32)


def as_before(state, optimizer):
    """A checkpoint as it was written when it was one file: optimisers count their parameters."""
    groups = []
    for names, kinds in (
        (optimizer.adamw_names, {"step": "step", "exp_avg": "mean", "exp_avg_sq": "square"}),
        (optimizer.muon_names, {"momentum": "momentum"}),
    ):
        saved = state["optimizers"]["text"]
        numbered = {i: {old: saved[new][name] for old, new in kinds.items()} for i, name in enumerate(names)}
        groups.append({"state": numbered, "param_groups": []})
    old = {"updates": saved["updates"], "optimizers": groups, "ema": saved["ema"]}
    weights = state["modules"]
    return {"step": state["step"], "skipped": 0, "modules": weights, "optimizers": {"text": old}}


def test_a_checkpoint_of_one_file_is_gone_on_from(tmp_path, uninterrupted):
    with pytest.raises(RuntimeError):
        trained(Disturbed(6, lose_power), tmp_path / "run", loop())
    run, stage = Run(tmp_path / "run", loop()), Words()
    optimizer = RoleOptimizer(stage.model, loop().optimizers["text"], steps=8, ranks=ALONE)
    old = as_before(run.latest(), optimizer)
    shutil.rmtree(run.checkpoints / "step_000004")
    torch.save(old, run.checkpoints / "step_000004.pt")

    same(trained(stage, tmp_path / "run", loop()).latest(), uninterrupted.latest())


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path):
    run = Run(tmp_path / "run", loop())
    (run.checkpoints / "step_000004.pt").write_bytes(b"nothing")

    with pytest.raises(UserError, match="written by an earlier version and cannot be read"):
        trained(Words(), tmp_path / "run", loop())


def test_a_checkpoint_of_another_network_is_one_line(tmp_path):
    run = trained(Words(), tmp_path / "run", loop(steps=1))
    shutil.rmtree(run.export)

    with pytest.raises(UserError, match=r"step_000001 lacks text\.\w+.*Give the recipe it was begun with"):
        trained(Line(4), tmp_path / "run", loop(steps=1))


def test_how_a_run_is_laid_over_processes_may_change_and_what_it_learns_may_not(tmp_path):
    Run(tmp_path / "run", loop())

    Run(tmp_path / "run", loop(parallel=ParallelConfig(checkpoint_activations="layer"), keep_checkpoints=3))
    assert "checkpoint_activations" in (tmp_path / "run" / "config.toml").read_text()
    with pytest.raises(UserError, match="accumulation is None there and 2 here"):
        Run(tmp_path / "run", loop(accumulation=2))


def test_a_run_leaves_clips_to_watch_and_a_report_that_needs_nothing_else(tmp_path):
    run = trained(Words(), tmp_path / "run", loop(steps=2, preview_every=1))

    page = (run.folder / "report.html").read_text()
    assert "text.loss" in page and "<polyline" in page and "preview.diversity" in page
    assert page.count("data:video/mp4;base64") == page.count("data:image/png;base64") == 2
    assert "http" not in page.replace("https://", "http").split("<pre>")[0]
    looked = [json.loads(line) for line in (run.folder / "previews.jsonl").read_text().splitlines()]
    assert [line["step"] for line in looked] == [1, 2] and all(line["motion"] > 0 for line in looked)


def test_a_line_of_metrics_says_where_the_time_went(tmp_path, uninterrupted):
    lines = (uninterrupted.folder / "metrics.jsonl").read_text().splitlines()
    machine = json.loads(lines[-1])["machine"]

    shares = [machine[name] for name in ("data", "forward", "backward", "optimizer", "other")]
    assert all(share >= 0 for share in shares) and sum(shares) == pytest.approx(1, abs=0.01)
    assert machine["memory_gb"] > 0


def test_a_tracker_that_is_not_installed_is_named_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)

    with pytest.raises(UserError, match="track names wandb, whose package is not installed"):
        trained(Words(), tmp_path / "run", loop(track=("wandb",)))


def test_a_tracker_hears_what_is_written_down(tmp_path, monkeypatch):
    heard = []
    board = types.ModuleType("trackio")
    board.init = lambda **about: heard.append(("init", about["project"]))
    board.log = lambda values, step: heard.append((step, values))
    board.finish = lambda: heard.append(("finish",))
    monkeypatch.setitem(sys.modules, "trackio", board)

    run = trained(Words(), tmp_path / "run", loop(steps=2, track=("trackio",)))

    assert heard[0] == ("init", "causvid") and heard[-1] == ("finish",)
    told = [{"step": step - 1, **values} for step, values in heard[1:-1] if "text.loss" in values]
    assert told == metrics(run)
