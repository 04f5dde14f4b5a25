r"""A network that came without batch-norm, as it is and with batch-norm given back, pruned and in the field.

    python -m benchmarks.unfold

A ResNet-20 learns scikit-learn's digits (8 x 8) and is folded; that is the checkpoint. Candidates at a share of its
MACs are judged as they are pruned (with new statistics where there are any), then trained for two epochs: whether the
judgement predicts the outcome is Kendall's tau. The field is the test images with their pixels multiplied. Three seeds,
some ten minutes of one core; every measurement is a line of ``results/unfold.jsonl``.
"""

import statistics
from typing import Any

import torch
from torch import Tensor, nn

import eyas
import models
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from eyas.networks.batch_norm_folding import fold_batch_norm
from eyas.networks.operated_network import operate
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.training import TensorSplit, evaluate, train
from eyas.training.recipes import Recipe

ROWS = RESULTS / "unfold.jsonl"
SEEDS, SHARES, CANDIDATES, DARKER = (0, 1, 2), (0.5, 0.25), 24, (0.4, 0.2)
MEAN, STD = 0.3, 0.4


def digits(seed: int) -> dict[str, TensorSplit]:
    """Normalised digits in four disjoint parts."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    parts = dict(zip(("train", "calibration", "score", "test"), order.split([897, 200, 300, 400]), strict=True))
    return {name: TensorSplit((pixels[rows] - MEAN) / STD, labels[rows]) for name, rows in parts.items()}


def delivered(data: dict[str, TensorSplit], seed: int) -> nn.Module:
    """Trained, then folded."""
    torch.manual_seed(seed)
    model = models.build("resnet20", 10, in_channels=1)
    train(model, data["train"], data["score"], recipe=Recipe.parse("sgd"), epochs=30, seed=seed)
    return fold_batch_norm(model.cpu().eval(), data["train"].images[:2])


def candidates(model: nn.Module, data: dict[str, TensorSplit], share: float, seed: int) -> dict[str, float]:
    """How candidates fare, and how well their untrained cross-entropy predicts it."""
    images = data["calibration"].images
    space = eyas.trace(model, (images[:2],))
    budget = Budget.parse(space, {"macs": share})
    widths = Sampler.parse("budget").ask(space, budget, CANDIDATES, seed=seed)
    before, after, untrained = [], [], []
    for row in widths:
        plan = space.plan(row, criterion=Criterion.parse("l1_norm"))
        small = eyas.prune(model, space, plan)
        if any(isinstance(layer, nn.BatchNorm2d) for layer in small.modules()):
            eyas.recalibrate(small, images)
        judged = evaluate(small, data["score"])
        before.append(-judged.cross_entropy)
        untrained.append(judged.accuracy)
        recipe = Recipe.parse({"kind": "sgd", "learning_rate": 0.01})
        train(small, data["train"], data["score"], recipe=recipe, epochs=2, seed=seed)
        after.append(evaluate(small, data["test"]).accuracy)
    picked = after[max(range(len(before)), key=before.__getitem__)]
    return {
        "tau": kendall(before, after),
        "untrained": statistics.mean(untrained),
        "trained": statistics.mean(after),
        "picked": picked,
        "best": max(after),
    }


def kendall(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b."""
    one, other = (torch.tensor(values)[:, None] - torch.tensor(values)[None] for values in (first, second))
    signs = one.sign().double(), other.sign().double()
    return float((signs[0] * signs[1]).sum() / (signs[0].square().sum() * signs[1].square().sum()).sqrt())


def field(model: nn.Module, data: dict[str, TensorSplit], factor: float, *, adapter: str | None) -> float:
    """Accuracy on one half of the test images, whose pixels are darker; the other half is followed."""
    images, labels = (data["test"].images * STD + MEAN) * factor, data["test"].labels
    images = (images - MEAN) / STD
    if adapter is not None:
        model = eyas.adapt(model, images[:200], adapter=adapter)
    return evaluate(model, TensorSplit(images[200:], labels[200:])).accuracy


def rows_of(seed: int) -> list[dict[str, Any]]:
    """All measurements of a seed."""
    data = digits(seed)
    folded = delivered(data, seed)
    unfolded = operate(folded, ["unfold_batch_norm"], data["calibration"].images).finish()
    with torch.no_grad():
        apart = float(difference(folded, unfolded, data["test"].images))
    networks = {"as delivered": folded, "unfolded": unfolded}
    rows: list[dict[str, Any]] = [{"seed": seed, "what": "dense", "apart": apart}]
    rows[0]["accuracy"] = evaluate(folded, data["test"]).accuracy
    for share in SHARES:
        for name, model in networks.items():
            rows.append(
                {"seed": seed, "what": f"macs {share}", "network": name, **candidates(model, data, share, seed)}
            )
    for factor in DARKER:
        for adapter in (None, "ada_bn", "alpha_bn"):
            accuracy = field(unfolded if adapter else folded, data, factor, adapter=adapter)
            rows.append(
                {"seed": seed, "what": f"pixels x {factor}", "network": adapter or "none", "accuracy": accuracy}
            )
    return rows


def difference(one: nn.Module, other: nn.Module, images: Tensor) -> Tensor:
    """Largest difference of a logit."""
    return (one.eval()(images) - other.eval()(images)).abs().max()


def report(rows: list[dict[str, Any]]) -> None:
    """Tables of what is there."""
    pruned = [
        (share, name, *(summary(rows, f"macs {share}", name, key) for key in ("tau", "untrained", "trained", "picked")))
        for share in SHARES
        for name in ("as delivered", "unfolded")
    ]
    followed = [
        (factor, *(summary(rows, f"pixels x {factor}", name, "accuracy") for name in ("none", "ada_bn", "alpha_bn")))
        for factor in DARKER
    ]
    dense = [row for row in rows if row["what"] == "dense"]
    notes = [
        f"ResNet-20 on digits (8 x 8), folded after 30 epochs: {mean_and_error([row['accuracy'] for row in dense])} %",
        f"unfolded with 200 images, its logits differ by {max(row['apart'] for row in dense):.1e} at most",
        f"{CANDIDATES} candidates by l1_norm, sampler budget; judged by cross-entropy on 300 images; 2 epochs at 0.01",
        f"{len(SEEDS)} seeds of data, weights and candidates; accuracies in % of 400 test images "
        "(untrained: of the 300; field: of 200)",
    ]
    body = [
        table(("MACs", "network", "tau x 100", "untrained", "trained", "picked by score"), pruned),
        table(("pixels x", "as delivered", "unfolded, ada_bn", "unfolded, alpha_bn"), followed),
    ]
    publish("unfold", "Batch-norm given back to a folded network", notes, "\n\n".join(body))


def summary(rows: list[dict[str, Any]], what: str, name: str, key: str) -> str:
    """Mean over seeds with its standard error."""
    return mean_and_error([row[key] for row in rows if (row["what"], row.get("network")) == (what, name)])


if __name__ == "__main__":
    measured = {row["seed"] for row in read_rows(ROWS)}
    for number in sorted(set(SEEDS) - measured):
        for line in rows_of(number):
            append_row(ROWS, line)
    report(read_rows(ROWS))
