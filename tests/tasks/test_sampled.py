"""Gradients of drawn targets: their second moment is the Gauss–Newton matrix, and an example's
targets hang on nothing but itself."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from conftest import make_base, make_rows
from datainf import Damping, attribute, collect, collect_curvature, self_influence, sweep, tasks
from datainf.errors import ModelError, OptionError, StoreMismatchError
from datainf.estimators import Exact, from_name
from datainf.gradient_flow import DRAWN, flow_damping
from datainf.gradients import curvature
from datainf.gradients.curvature import default_rows
from datainf.gradients.evaluating import evaluating
from datainf.gradients.parameters import select
from datainf.linalg import from_dense
from datainf.tasks import sampling
from datainf.tasks.labels import Labels
from datainf.tasks.sampled import Sampled, can_be_sampled
from datainf.tasks.sampling import Draws
from tiny_models import TINY, tiny_base, tiny_lora, tiny_task
from tiny_pipelines import add_lora, denoiser_of, make_examples, make_pipeline

DRAWN_TIMES = 20_000
TOLERANCE = 5 / math.sqrt(DRAWN_TIMES)


def second_moment(sampled_losses, outputs):
    """E[s sᵀ] with respect to the outputs, over `DRAWN_TIMES` draws."""
    many = outputs.expand(DRAWN_TIMES, *outputs.shape[1:]).clone().requires_grad_()
    losses = sampled_losses(many, Draws(range(DRAWN_TIMES)))
    (s,) = torch.autograd.grad(losses.sum(), many)
    s = s.flatten(1).double()
    assert float(s.mean(dim=0).norm()) < TOLERANCE * float(s.norm(dim=1).mean())
    return s.T @ s / DRAWN_TIMES


def hessian(losses, outputs):
    """∂²ℓ/∂z² at these outputs, dense."""
    size = outputs.numel()
    found = torch.autograd.functional.hessian(lambda z: losses(z.view_as(outputs)).sum(), outputs)
    return found.reshape(size, size).double()


def assert_near(found, expected):
    assert float((found - expected).norm()) < TOLERANCE * float(expected.norm())


def outputs_of(*shape):
    return 1.5 * torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def test_of_tokens_it_is_the_hessian_of_the_mean():
    z, targets = outputs_of(4, 5), torch.tensor([[2, -100, 0, 4]])
    many = targets.expand(DRAWN_TIMES, -1)
    found = second_moment(lambda z, d: sampling.sampled_token_losses(z, many, d), z)

    def mean_loss(z):
        known = targets != -100
        return F.cross_entropy(z[known], targets[known])[None]

    expected = hessian(mean_loss, z)
    assert float(expected[5:10].abs().max()) == 0  # the token that is not supervised
    assert_near(found, expected)


@pytest.mark.parametrize(
    ("problem", "target"),
    [
        ("single_label_classification", torch.tensor([1])),
        ("multi_label_classification", torch.tensor([[1.0, 0, 0, 1]])),
        ("regression", torch.tensor([[0.3, -1, 2, 0]])),
    ],
)
def test_of_labels_it_is_the_hessian(problem, target):
    labels, z = Labels(problem, 4), outputs_of(4)
    many = target.expand(DRAWN_TIMES, *target.shape[1:])
    found = second_moment(lambda z, draws: labels.sampled_losses(z, many, draws), z)
    assert_near(found, hessian(lambda z: labels.losses(z, target), z))


def test_a_class_is_drawn_as_often_as_it_is_likely():
    z = outputs_of(6).expand(DRAWN_TIMES, 6)
    drawn = sampling.draw_classes(z, Draws(range(DRAWN_TIMES))._uniform([1] * DRAWN_TIMES))
    shares = torch.bincount(drawn, minlength=6) / DRAWN_TIMES
    assert torch.allclose(shares, z[0].softmax(0), atol=TOLERANCE)
    # The ends of the unit interval, and a class that cannot be.
    certain = torch.tensor([[-math.inf, 0.0], [0.0, -math.inf]]).repeat_interleave(2, 0)
    ends = torch.tensor([0, 1 - 1e-16, 0, 1 - 1e-16], dtype=torch.float64)
    assert sampling.draw_classes(certain, ends).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("name", TINY)
def test_with_the_datas_own_targets_it_is_the_tasks_loss(name, tokenizer, monkeypatch):
    """Alignment, masks and means are the task's: only the targets are drawn."""
    model = tiny_base(name).eval()
    task, rows = tiny_task(name, model, tokenizer), TINY[name].rows
    batch = task.collate(rows)
    labels = batch["labels"]
    if labels.is_floating_point():
        pytest.skip("tested with numbers above")
    if labels.dim() == 2:
        shifted = labels[:, 1:] if isinstance(task, tasks.CausalLM) else labels
        counts = (shifted != -100).sum(dim=1)
        targets = shifted[shifted != -100]
    else:
        counts, targets = torch.ones(len(labels)), labels
    monkeypatch.setattr(sampling, "draw_classes", lambda *_: targets)
    with torch.no_grad():
        found = task.sampled_losses(model, batch, Draws(range(len(rows))))
        expected = task.losses(model, batch) * counts.sqrt()
    torch.testing.assert_close(found, expected)


def test_of_a_causal_lm_each_token_is_drawn_from_the_one_before(tokenizer, monkeypatch):
    model, rows = make_base("llama").eval(), make_rows("llama")
    task = tasks.CausalLM(tokenizer).for_model(model)
    batch = task.collate(rows)
    shifted = batch["labels"][:, 1:]
    known = shifted != -100
    seen = []

    def draw(logits, uniform):
        seen.append((logits, uniform))
        return shifted[known]

    monkeypatch.setattr(sampling, "draw_classes", draw)
    with torch.no_grad():
        found = task.sampled_losses(model, batch, Draws(range(len(rows))))
        expected = task.losses(model, batch) * known.sum(dim=1).sqrt()
    torch.testing.assert_close(found, expected)
    ((logits, uniform),) = seen
    assert len(logits) == len(uniform) == int(known.sum())
    assert not tasks.Preference(tokenizer).can_sample  # though it is a CausalLM


@pytest.mark.parametrize("weighting", ["none", "snr"])
def test_of_pictures_each_output_has_its_own_normal_number(weighting):
    pipeline = make_pipeline("sd1")
    task = tasks.TextToImage(pipeline, timesteps=3, weighting=weighting).for_model(
        denoiser_of(pipeline)
    )
    model, rows = denoiser_of(pipeline).eval(), make_examples(2)
    batch = task.collate(rows)
    seen = []
    denoise = model.register_forward_hook(lambda *a: seen.append(a[-1]))
    with torch.no_grad():
        found = task.sampled_losses(model, batch, Draws([5, 6]))
    denoise.remove()
    z = getattr(seen[0], "sample", seen[0][0] if isinstance(seen[0], tuple) else seen[0])
    z = z.double().view(3, 2, *z.shape[1:])
    noise = torch.stack([
        torch.randn(3, *z.shape[2:], generator=torch.Generator().manual_seed(k), dtype=torch.double)
        for k in (5, 6)
    ], dim=1)  # fmt: skip
    scale = (2 * task.schedule.weights.double() / z[:, 0].numel()).sqrt()
    expected = (scale.view(3, 1, 1, 1, 1) * noise * z).flatten(2).sum(dim=(0, 2))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def collected(tokenizer, tmp_path_factory):
    """name → (model, task, rows, training store, query store, curvature store)."""
    found = {}
    for name in ("t5", "vit"):
        folder = tmp_path_factory.mktemp("drawn")
        model, rows = tiny_lora(name), TINY[name].rows
        task = tiny_task(name, model, tokenizer)
        moments = {
            key: 0.1 + torch.rand(p.shape, generator=torch.Generator().manual_seed(1))
            for key, p in select(model).items()
        }
        found[name] = (
            model, task, rows,
            collect(model, rows, task, out=folder / "t", second_moments=moments),
            collect(model, rows[:3], task, out=folder / "q"),
            collect_curvature(model, rows, task, out=folder / "c", rows=2 * len(rows) + 1),
        )  # fmt: skip
    return found


def test_an_examples_targets_do_not_hang_on_its_batch(collected, tmp_path):
    for name, (model, task, rows, *_, drawn) in collected.items():
        assert len(drawn) == 2 * len(rows) + 1
        assert len(set(drawn.ids)) == len(drawn)
        alone = collect_curvature(
            model, rows, task, out=tmp_path / name, rows=len(rows), batch_tokens=1
        )
        for block, G in alone.blocks.items():
            own = drawn.blocks[block].to_dense()
            torch.testing.assert_close(G.to_dense(), own[: len(rows)], rtol=1e-4, atol=1e-6)
            # Another draw has other targets.
            assert not torch.allclose(own[: len(rows)], own[len(rows) : 2 * len(rows)])
        other = collect_curvature(
            model, rows, task, out=tmp_path / f"{name} 1", rows=len(rows), seed=1
        )
        assert any(
            not torch.allclose(G.to_dense(), drawn.blocks[block].to_dense()[: len(rows)])
            for block, G in other.blocks.items()
        )


def test_examples_that_are_alike_have_targets_of_their_own(collected, tmp_path):
    for name, (model, task, rows, *_) in collected.items():
        drawn = collect_curvature(model, rows[:1] * 12, task, out=tmp_path / name, rows=12)
        S = torch.cat([G.to_dense() for G in drawn.blocks.values()], dim=1)
        assert len(torch.unique(S, dim=0)) > 1


class Weighted(tasks.CausalLM):
    """Another loss than the one that `CausalLM` draws targets of."""

    def losses(self, model, batch):
        return 3 * super().losses(model, batch)


def test_a_loss_that_a_subclass_changed_has_no_targets_to_draw(collected, tmp_path):
    model, task, rows, *_ = next(iter(collected.values()))
    assert can_be_sampled(task)
    other = Weighted(task.tokenizer)
    assert other.can_sample
    assert not can_be_sampled(other)
    with pytest.raises(ModelError, match="does not say which targets"):
        collect_curvature(model, rows, other, out=tmp_path / "other")


def test_of_many_rows_a_random_part(collected, tmp_path):
    model, task, rows, *_ = next(iter(collected.values()))
    few = collect_curvature(model, rows, task, out=tmp_path / "few", rows=3)
    chosen = [int(str(identifier).split(",")[0]) for identifier in few.ids]
    assert len(set(chosen)) == 3
    assert chosen == sorted(chosen) != [0, 1, 2]
    own = collect_curvature(model, rows, task, out=tmp_path / "own")
    assert len(own) == 4 * len(rows)
    assert [default_rows(n) for n in (0, 1, 74, 75, 240, 250, 500, 800, 10**6)] == [
        1, 4, 296, 300, 300, 313, 625, 1000, 1000,
    ]  # fmt: skip


def dense(store, train):
    parts = [
        G.to_dense().double() / (train.second_moments[name].double().sqrt() + 1e-8).sqrt()
        for name, G in store.blocks.items()
    ]
    return torch.cat(parts, dim=1)


def by_hand(train, query, drawn, rows, normalize="root"):
    G, V, S = (dense(store, train) for store in (train, query, drawn))
    if normalize != "none":
        V = F.normalize(V)
    if normalize in ("root", "unit"):
        power = 0.5 if normalize == "root" else 1
        G, S = (X / X.norm(dim=1, keepdim=True) ** power for X in (G, S))
    H = S.T @ S / len(S)
    lam = rows * float(S.square().sum(1).mean()) / len(S)
    return V @ torch.linalg.solve(H + lam * torch.eye(len(H), dtype=H.dtype), G.T)


def test_gauss_newton_is_the_dense_solve(collected):
    for *_, train, query, drawn in collected.values():
        found = attribute(train, query, curvature=drawn, damping="rows:0.5")
        assert found.method == "gauss-newton"
        assert found.settings == {
            "damping": "rows:0.5", "normalize": "root", "metric": "adam", "blocks": "model",
            "curvature_rows": len(drawn),
        }  # fmt: skip
        expected = by_hand(train, query, drawn, 0.5)
        torch.testing.assert_close(
            found.values.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )


@pytest.mark.parametrize("normalize", ["none", "queries", "unit", "root"])
def test_the_curvatures_rows_are_scaled_as_the_examples(collected, normalize):
    *_, train, query, drawn = next(iter(collected.values()))
    found = attribute(train, query, curvature=drawn, damping="rows:0.5", normalize=normalize)
    expected = by_hand(train, query, drawn, 0.5, normalize)
    torch.testing.assert_close(
        found.values.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )
    own = self_influence(train, curvature=drawn, damping="rows:0.5", normalize=normalize)
    whole = attribute(train, train, curvature=drawn, damping="rows:0.5", normalize=normalize)
    torch.testing.assert_close(own, whole.values.diagonal(), rtol=1e-4, atol=1e-5)


def test_damping_of_the_learning_rates(collected):
    *_, train, query, drawn = next(iter(collected.values()))
    square = float(dense(drawn, train).square().sum(1).mean())
    rows = 3 * 7 * len(drawn) / (0.2 * square)  # of one checkpoint, three times
    found = attribute(train, query, curvature=drawn, rate_sum=0.2)
    told = Damping.parse(found.settings["damping"])
    flow = flow_damping(len(drawn), square, 0.2, DRAWN)
    assert (told.kind, told.value) == ("rows", pytest.approx(flow.value, rel=1e-6))
    torch.testing.assert_close(
        found.values.double(), by_hand(train, query, drawn, rows), rtol=1e-3, atol=1e-5
    )
    unknown = attribute(train, query, curvature=drawn)
    assert unknown.settings["damping"] == str(Damping(2 * len(drawn) / len(train), "rows"))


def test_where_there_are_more_rows_than_parameters(collected, tmp_path):
    """The d × d matrix is factored then."""
    model, task, rows, *_ = next(iter(collected.values()))
    name = min(select(model), key=lambda key: select(model)[key].numel())
    stores = [collect(model, rows, task, out=tmp_path / "t", trainable=name,
                      second_moments={name: torch.ones(select(model)[name].shape)}),
              collect(model, rows[:2], task, out=tmp_path / "q", trainable=name),
              collect_curvature(model, rows, task, out=tmp_path / "c", trainable=name,
                                rows=2 * select(model)[name].numel())]  # fmt: skip
    assert len(stores[2]) > stores[2].index.blocks[0].width
    found = attribute(*stores[:2], curvature=stores[2], damping="rows:1")
    expected = by_hand(*stores, 1.0)
    torch.testing.assert_close(
        found.values.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize("method", ["exact", "datainf", "cg", "lissa", "ridge"])
def test_any_method_takes_the_curvature(collected, method):
    """With much damping all are v·g/λ; `exact` and long solves are the dense one."""
    *_, train, query, drawn = next(iter(collected.values()))
    options = {"metric": "adam", "normalize": "none", "blocks": "model"}
    far = attribute(train, query, method, curvature=drawn, damping="rows:1e5", **options)
    torch.testing.assert_close(
        far.values.double(),
        by_hand(train, query, drawn, 1e5, normalize="none"),
        rtol=1e-3,
        atol=1e-7,
    )
    if method in ("exact", "cg", "ridge"):
        steps = {} if method == "exact" else {"steps": 60}
        near = attribute(
            train, query, method, curvature=drawn, damping="rows:1", **options, **steps
        )
        expected = by_hand(train, query, drawn, 1.0, normalize="none")
        torch.testing.assert_close(
            near.values.double(), expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max())
        )


def test_self_influence_is_the_diagonal(collected):
    *_, train, _, drawn = next(iter(collected.values()))
    whole = attribute(train, train, curvature=drawn, damping="rows:1").values.diagonal()
    own = self_influence(train, curvature=drawn, damping="rows:1")
    torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-5)
    exact = self_influence(train, "exact", curvature=drawn, damping="rows:1")
    expected = attribute(train, train, "exact", curvature=drawn, damping="rows:1")
    torch.testing.assert_close(exact, expected.values.diagonal(), rtol=1e-4, atol=1e-5)


def test_checkpoints_are_summed(collected):
    *_, train, query, drawn = next(iter(collected.values()))
    one = attribute(train, query, curvature=drawn)
    two = attribute([train, train], [query, query], curvature=[drawn, drawn])
    torch.testing.assert_close(one.values, two.values)
    by_two = sweep(train, query, curvature=drawn, dampings=["rows:1", "rows:2"])
    assert [s.settings["damping"] for s in by_two] == ["rows:1", "rows:2"]


def test_what_does_not_fit_is_refused(collected, tmp_path):
    (_, _, _, train, query, drawn), other = collected.values()
    with pytest.raises(OptionError, match="needs gradients of drawn targets"):
        attribute(train, query, "gauss-newton")
    with pytest.raises(OptionError, match="gradient has no curvature"):
        attribute(train, query, "gradient", curvature=drawn)
    with pytest.raises(OptionError, match="holds gradients of drawn targets"):
        attribute(drawn, query)
    with pytest.raises(OptionError, match="holds gradients of drawn targets"):
        self_influence(drawn, "gradient")
    with pytest.raises(OptionError, match="does not hold gradients of drawn targets"):
        attribute(train, query, curvature=train)
    with pytest.raises(StoreMismatchError):
        attribute(train, query, curvature=other[-1])
    with pytest.raises(OptionError, match="one for every checkpoint"):
        attribute(train, query, curvature=[drawn, drawn])
    model, task, rows, *_ = next(iter(collected.values()))
    with pytest.raises(OptionError, match="at least one row"):
        collect_curvature(model, rows, task, out=tmp_path / "none", rows=0)
    custom = tasks.Custom(task.losses, collate=task.collate)
    with pytest.raises(ModelError, match="does not say which targets"):
        collect_curvature(model, rows, custom, out=tmp_path / "custom")
    pipeline = make_pipeline("sd1")
    concatenated = tasks.TextToImage(pipeline, timesteps=2, aggregate="concatenate")
    with pytest.raises(ModelError, match="does not say which targets"):
        Sampled(concatenated)


def test_pictures_are_collected(tmp_path):
    pipeline = make_pipeline("sd1")
    model = add_lora(denoiser_of(pipeline), ["to_q", "to_v"])
    task = tasks.TextToImage(pipeline, timesteps=2)
    found = collect_curvature(model, make_examples(3), task, out=tmp_path / "c", rows=6)
    assert len(found) == 6
    assert float(found.sq_norms.sum()) > 0
    with evaluating(model):
        assert Sampled(task).parts == 2


def test_what_rounding_would_decide_is_decided_once():
    """The same example again, with logits that are a little off, has the same targets."""
    z = outputs_of(4, 50).expand(40, 4, 50)
    targets, known = torch.zeros(40, 4, dtype=torch.long), {}
    first = sampling.sampled_token_losses(z, targets, Draws(range(40), known))
    off = z + 0.3 * torch.randn(40, 4, 50, generator=torch.Generator().manual_seed(1))
    again = sampling.sampled_token_losses(off, targets, Draws(range(40), known))
    fresh = sampling.sampled_token_losses(off, targets, Draws(range(40)))
    picked = torch.stack([known[key] for key in range(40)])
    expected = F.cross_entropy(off.flatten(0, 1), picked.flatten(), reduction="none")
    torch.testing.assert_close(again, expected.view(40, 4).sum(dim=1) / 2)
    assert not torch.allclose(again, fresh)
    assert len(first) == len(known) == 40
    for key in range(2 * sampling.REMEMBERED):
        Draws([key], known).classes(z[0], [4])
    assert len(known) == sampling.REMEMBERED


def test_a_curvature_goes_on_where_it_was(tokenizer, tmp_path):
    model, rows = make_base("llama").eval(), make_rows("llama")
    task = tasks.CausalLM(tokenizer)
    options = {"rows": 2 * len(rows), "trainable": "*q_proj*"}
    whole = collect_curvature(model, rows, task, out=tmp_path / "whole", **options)

    class Killed:
        """Stops the work when the first shard is there."""

        def stage(self, *_):
            def advance(_):
                if (tmp_path / "part" / "index.json").exists() and shards():
                    raise KeyboardInterrupt

            return advance

    def shards():
        return json.loads((tmp_path / "part" / "index.json").read_text())["shards"]

    def go_on(progress=None):
        drawn = curvature._Drawn(rows, 2 * len(rows), 0)
        return collect(
            model, drawn, Sampled(task), out=tmp_path / "part", trainable="*q_proj*",
            shard_rows=3, progress=progress,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        go_on(Killed())
    assert 0 < len(shards()) < 4
    part = go_on()
    for block, G in whole.blocks.items():
        torch.testing.assert_close(part.blocks[block].to_dense(), G.to_dense())
    assert part.ids == whole.ids


@pytest.mark.parametrize("rows", [1e-2, 1e-5, 1e-8])
def test_a_small_damping_is_not_lost_in_the_rounding_of_float32(rows):
    """On rows of low rank, as several draws of a classifier with two labels are."""
    draw = torch.Generator().manual_seed(0)
    S = from_dense(torch.randn(30, 5, generator=draw) @ torch.randn(5, 40, generator=draw))
    V = torch.randn(3, 40, generator=draw)
    lam = rows * float(S.sq_norms.mean()) / 30
    # Of gradients in the rows' own space, where what is far larger cancels out.
    expected, found = (
        method.fit(S).scores(V, lam, S).values.double()
        for method in (Exact(), from_name("gauss-newton"))
    )
    assert float((found - expected).norm()) < 1e-2 * float(expected.norm())


def test_a_curvature_of_other_data_is_refused(collected, tmp_path):
    model, task, rows, _, query, _ = next(iter(collected.values()))
    train = collect(model, rows, task, out=tmp_path / "t", notes={"source_digest": "one"})
    same, other = (
        collect_curvature(
            model, rows[:2], task, out=tmp_path / name, rows=2, notes={"source_digest": name}
        )
        for name in ("one", "two")
    )
    assert attribute(train, query, curvature=same).shape == (len(query), len(train))
    with pytest.raises(StoreMismatchError, match="drawn for other data"):
        attribute(train, query, curvature=other)
