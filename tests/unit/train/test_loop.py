"""The loop: the same as thirty lines of plain PyTorch, resumable bit for bit, and it says what goes wrong."""

from __future__ import annotations

import functools
import json
import signal
from pathlib import Path

import pytest
import torch

from bodh.contracts import Progress
from bodh.errors import Diverged, Interrupted, ModelError
from bodh.train import checkpoint, loop
from bodh.train.log import read
from bodh.train.monitor import Choice
from bodh.train.optimise import Plan, decay_at, rate_at
from tests.unit.train.parts import NoiseModality, make_training, run, same_weights


def test_equals_a_plain_loop(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, clip=1.0)
    plain, _ = make_training(clip=1.0)
    config = plain.config
    groups = [
        {"params": [p for p in plain.objective.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in plain.objective.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0, fused=True)
    plain.objective.train()
    for step in range(16):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step / 16, config)
        batch = plain.feed.micro_batch(step, 0, print)
        torch.manual_seed(batch.seed)
        optimiser.zero_grad()
        output = plain.objective(batch, Progress(step, 16, step // 4, 4))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.objective.parameters(), 1.0)
        optimiser.step()
        plain.objective.after_step(Progress(step, 16, step // 4, 4))
    plain.feed.close()
    assert same_weights(trained.objective, plain.objective)


def test_compile_is_for_every_way_that_objectives_call_the_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = run(tmp_path / "plain", epochs=1)
    graphs = []

    def backend(graph: torch.fx.GraphModule, example: list[torch.Tensor]) -> object:
        graphs.append(example)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled, _ = run(tmp_path / "compiled", epochs=1, compile=True)
    called = len(graphs)
    assert called > 0
    assert same_weights(plain.objective, compiled.objective)
    compiled.backbone.features(torch.zeros(5, 3, 8, 8))
    assert len(graphs) > called


def test_weight_decay_goes_along_a_cosine_to_its_end(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, weight_decay=0.04, weight_decay_end=0.4)
    config = trained.config
    assert [decay_at(f, config) for f in (0, 0.5, 1, 1.2)] == pytest.approx([0.04, 0.22, 0.4, 0.4])
    found = {len(group["params"][0].shape) > 1: group["weight_decay"] for group in trained.optimiser.param_groups}
    assert found == {True: pytest.approx(decay_at(15 / 16, config)), False: 0}
    constant = config.model_copy(update={"weight_decay_end": None})
    assert decay_at(0.7, constant) == 0.04


@pytest.mark.parametrize("objective", ["simclr", "byol", "moco", "dino", "classify"])
def test_resume_is_exact(tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path / "whole", objective=objective, monitor=True)
    real = loop._one_step
    broken, look = make_training(objective=objective, monitor=True)

    def dies_at_seven(training: loop.Training) -> dict[str, torch.Tensor]:
        if training.step == 7:
            raise MemoryError("killed")
        return real(training)

    monkeypatch.setattr(loop, "_one_step", dies_at_seven)
    with pytest.raises(MemoryError):
        loop.train(broken, run=tmp_path / "part", monitor=look, title="test")
    monkeypatch.setattr(loop, "_one_step", real)
    resumed, outcome = run(tmp_path / "part", objective=objective, monitor=True)
    assert outcome.steps == 16
    assert same_weights(whole.objective, resumed.objective)
    steps = [record["step"] for record in read(tmp_path / "part" / "log.jsonl") if record["kind"] == "step"]
    assert steps == list(range(2, 17, 2))


def test_accumulated_halves_equal_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # cross-entropy is a mean over records, so two halves add up to it where views, dropout and batch norm do nothing
    monkeypatch.setattr(NoiseModality, "scale", 0.0)
    results = []
    for parts in (1, 2):
        training, _ = make_training(objective="classify", accumulate=parts, optimiser="sgd", learning_rate=1.0)
        for module in training.objective.modules():
            monkeypatch.setattr(module, "train", lambda _mode=True: None)
            module.training = False
        loop.train(training, run=tmp_path / str(parts), monitor=None, title="test")
        results.append(torch.cat([tensor.flatten() for tensor in training.objective.state_dict().values()]))
    untouched, _ = make_training(objective="classify")
    start = torch.cat([tensor.flatten() for tensor in untouched.objective.state_dict().values()])
    assert (results[0] - start).abs().max() > 1e-3
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


def test_damaged_checkpoint_falls_back(tmp_path: Path) -> None:
    run(tmp_path)
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1] / "state.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    assert checkpoint.newest(tmp_path / "checkpoints")["step"] == 15
    for folder in (tmp_path / "checkpoints").iterdir():
        (folder / "state.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"every checkpoint in .* is damaged"):
        checkpoint.newest(tmp_path / "checkpoints")


def test_signal_saves_and_says_how_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop._one_step

    def signalled(training: loop.Training) -> dict[str, torch.Tensor]:
        if training.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return real(training)

    monkeypatch.setattr(loop, "_one_step", signalled)
    with pytest.raises(Interrupted, match=r"step 6.*--resume") as caught:
        run(tmp_path)
    assert caught.value.exit_code == 143
    assert checkpoint.newest(tmp_path / "checkpoints")["step"] == 6


def test_a_bad_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop._one_step
    seen = {}

    def poisoned(training: loop.Training) -> dict[str, torch.Tensor]:
        if training.step != 5:
            return real(training)
        before = {name: tensor.clone() for name, tensor in training.objective.state_dict().items()}
        take = training.feed.micro_batch

        def bad(step, part, lap):
            batch = take(step, part, lap)
            batch.views[0].fill_(float("nan"))
            return batch

        training.feed.micro_batch = bad
        figures = real(training)
        training.feed.micro_batch = take
        after = training.objective.state_dict()
        seen["same"] = all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        return figures

    monkeypatch.setattr(loop, "_one_step", poisoned)
    _, outcome = run(tmp_path)
    assert seen["same"]
    assert outcome.skipped == 1


def test_many_bad_steps_stop_the_run(tmp_path: Path) -> None:
    training, _ = make_training(not_finite=3)
    with torch.no_grad():
        training.objective.backbone.net[0].weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="3 steps in a row"):
        loop.train(training, run=tmp_path, monitor=None, title="test")


def test_log_is_json_and_monitors_are_in_it(tmp_path: Path) -> None:
    run(tmp_path, monitor=True, monitor_every=2)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    looks = [record for record in records if record["kind"] == "monitor"]
    assert [look["step"] for look in looks] == [8, 16]
    assert {"rankme", "lidar", "alpha_req", "std", "alignment", "uniformity", "collapsed"} <= looks[0].keys()
    shares = [
        sum(record[f"share_{phase}"] for phase in ("data", "views", "network", "other"))
        for record in records
        if record["kind"] == "step"
    ]
    assert all(abs(share - 1) < 1e-6 for share in shares)


def test_a_budget_of_minutes_ends_in_time(tmp_path: Path) -> None:
    training, _ = make_training(
        epochs=None, minutes=0.05, plan=Plan(1, seconds=3.0), checkpoint_minutes=5, log_every=10
    )
    outcome = loop.train(training, run=tmp_path, monitor=None, title="test")
    assert outcome.steps == training.plan.steps > 10
    assert outcome.seconds < 6  # generous: the machine may be busy; the plan is checked below without a clock


def test_plan_revision_keeps_the_fraction_and_meets_the_budget() -> None:
    plan = Plan(1000, seconds=100.0)
    assert plan.revise(100, elapsed=20.0, step_seconds=0.2)
    assert plan.steps == 500
    assert plan.fraction(100) == pytest.approx(0.1)
    assert plan.fraction(500) == pytest.approx(1.0)
    assert not plan.revise(101, elapsed=20.2, step_seconds=0.2)


def test_collapsed_weights_are_not_kept() -> None:
    kept = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2)})
    scores = {"rankme": 2.0, "lidar": 3.0, "collapsed": False}
    choice = Choice()
    choice.see(10, scores, kept)
    good = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
    with torch.no_grad():
        kept["backbone"].weight.zero_()
    choice.see(20, scores | {"lidar": 1.0}, kept)
    assert choice.settle(20, kept)["chosen"] == 20
    assert not torch.equal(kept["backbone"].weight, good["backbone.weight"])
    choice = Choice()
    choice.see(10, scores, kept)
    with torch.no_grad():
        kept["backbone"].weight.fill_(7.0)
    choice.see(20, scores | {"collapsed": True}, kept)
    record = choice.settle(20, kept)
    assert (record["chosen"], record["why"]) == (10, "the last weights collapsed")
    assert torch.equal(kept["backbone"].weight, torch.zeros(2, 2))
