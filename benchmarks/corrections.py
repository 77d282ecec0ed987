"""Correct labels in some order, and train students on them; the truth plays the person.

    python -m benchmarks.corrections params.yaml --seeds 0,1,2 --set prepare.digits.n_train=1000

Seed s draws the scenes and the observed labels and seeds both trainings. An order chooses the
first --checks entries among those that nobody has named. Precision and recall count these entries
before and after, so two orders are judged on the same ones. Students are trained for the orders
in --train. Finished runs are kept in --out, so the command can be stopped and called again.
Delete the folder after a change of code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.options import names
from experiments import markdown, runs
from experiments.runs import Values, spread
from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import Index, PseudoLabels
from pipeline.core.arrays import BoolMatrix
from pipeline.pseudo_labels.order import Order, order_of
from stages import Stage

Floats = npt.NDArray[np.float64]
# Without any correction.
NONE = "none"


@dataclass(frozen=True)
class Labelled:
    """A seed's run up to its pseudo-labels.

    Attributes:
        values: its params.
        folders: the folders of pseudo_label, of train_teacher and score, and of prepare.
        seed: the seed.
    """

    values: Values
    folders: tuple[Path, Path, Path]
    seed: int

    @cached_property
    def index(self) -> Index:
        """The index."""
        return Run.at(self.folders[2]).read_index()

    @cached_property
    def pseudo(self) -> PseudoLabels:
        """The labels before any correction."""
        return Run.at(self.folders[0]).read_pseudo_labels(self.index)

    @cached_property
    def truth(self) -> BoolMatrix:
        """(N, C) the complete labels of the train images."""
        return Run.at(self.folders[2]).read_truth(self.index).of(self.index, "train")

    @cached_property
    def order(self) -> Order:
        """The entries with their expected gain."""
        scored = Run.at(self.folders[1])
        train, val = (scored.read_scores(self.index, split) for split in ("train", "val"))
        return order_of(self.index, train, val, self.pseudo)

    def first(self, name: str, checks: int) -> BoolMatrix:
        """Return a mask of the first entries of an order."""
        rank = np.where(self.order.free, ORDERS[name](self), -np.inf)
        chosen = np.zeros(rank.shape, np.bool_)
        chosen.ravel()[np.argsort(-rank, axis=None, kind="stable")[:checks]] = True
        return chosen


def _random(run: Labelled) -> Floats:
    return np.random.default_rng(run.seed).random(run.order.gain.shape)


# The orders by name; entries of high rank come first.
ORDERS: dict[str, Callable[[Labelled], Floats]] = {
    "random": _random,
    "gain": lambda run: run.order.gain,
    "wrong": lambda run: run.order.wrong,
    "margin": lambda run: -np.abs(run.order.present - 0.5),
    "positives": lambda run: np.where(run.pseudo.labels, run.order.wrong, -1),
    "negatives": lambda run: np.where(run.pseudo.labels | run.pseudo.ignored, -1, run.order.wrong),
    "ignored": lambda run: np.where(run.pseudo.ignored, run.order.wrong, -1),
}


@click.command(cls=Stage)
@click.argument("params")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--checks", default=100, show_default=True, help="entries that the person checks")
@click.option("--orders", default=",".join(ORDERS), show_default=True)
@click.option("--train", default="none,random,gain", show_default=True, help="orders with students")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--threads", default=1, show_default=True, help="threads of a training")
@click.option("--out", default=Path(".cache/corrections"), type=click.Path(path_type=Path))
def main(
    params: str, seeds: str, checks: int, orders: str, train: str, sets: tuple[str, ...],
    threads: int, out: Path,
) -> None:  # fmt: skip
    """Correct labels of PARAMS, a file or a preset; write results.csv and table.md to --out."""
    base, rows = runs.read_for_every_loss(params, sets), []
    tried = [NONE, *names("--orders", orders, ORDERS)]
    trained = names("--train", train, [NONE, *ORDERS])
    for seed in (int(text) for text in seeds.split(",")):
        run = _labelled(base, seed, out, threads)
        for name in tried:
            chosen = np.zeros(run.pseudo.labels.shape, np.bool_)
            if name != NONE:
                chosen = run.first(name, checks)
            row = {"seed": seed, "order": name, **_labels(run, chosen)}
            if name in trained:
                row |= _student(run, name, chosen, out, threads)
            rows.append(row)
            click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    results = pd.DataFrame(rows)
    results.to_csv(out / "results.csv", index=False)
    table = _table(results, tried)
    (out / "table.md").write_text(table, encoding="utf-8")
    click.echo(table)


def _labelled(base: Values, seed: int, out: Path, threads: int) -> Labelled:
    changes = {
        "prepare.seed": 1200 + seed, "train_teacher.seed": seed, "train_student.seed": seed,
    }  # fmt: skip
    values = runs.changed(base, changes)
    prepared = runs.stages(out, values, ["prepare"], threads=threads)
    scored = runs.stages(out, values, ["train_teacher", "score"], prepared, threads=threads)
    labelled = runs.stages(out, values, ["pseudo_label"], scored, prepared, threads=threads)
    return Labelled(values, (labelled, scored, prepared), seed)


def _labels(run: Labelled, chosen: BoolMatrix) -> Values:
    """Return the quality of the labels once the chosen entries are correct."""
    free, truth = run.order.free, run.truth
    labels = np.where(chosen, truth, run.pseudo.labels) & free
    used = free & (chosen | ~run.pseudo.ignored)
    right = int((labels & truth).sum())
    return {
        "changed": int((chosen & (run.pseudo.labels != truth)).sum()),
        "precision": round(right / int(labels.sum()), 4),
        "recall": round(right / int((truth & free).sum()), 4),
        "wrong": int((used & (labels != truth)).sum()),
    }


def _student(run: Labelled, name: str, chosen: BoolMatrix, out: Path, threads: int) -> Values:
    """Train a student on the corrected labels and return its mAP."""
    values = run.values
    if name != NONE:
        path = (out / "marks" / f"{name}-{chosen.sum()}-{run.seed}.csv").resolve()
        path.parent.mkdir(exist_ok=True)
        entries = np.argwhere(chosen)
        marks = {
            "image_id": [run.pseudo.image_ids[row] for row in entries[:, 0]],
            "class": [run.index.classes[column] for column in entries[:, 1]],
            "label": np.where(run.truth[chosen], "present", "absent"),
        }
        pd.DataFrame(marks).to_csv(path, index=False)
        values = runs.changed(values, {"pseudo_label.corrections": str(path)})
    stages = ["pseudo_label", "train_student", "evaluate"]
    folder = runs.stages(out, values, stages, *run.folders[1:], threads=threads)
    metrics = runs.student_metrics(folder)
    return {"val_mAP": metrics["val_mAP"], "test_mAP": metrics["test_mAP"]}


def _table(results: pd.DataFrame, names: list[str]) -> str:
    """Return the mean of each order as Markdown; students also with their difference to none."""
    results = results.set_index("seed")
    header = ["order", "changed labels", "wrong labels", "precision", "recall", "test mAP", "gain"]
    cells = []
    for name in names:
        of = results[results["order"] == name]
        means = [of["changed"].mean(), of["wrong"].mean(), of["precision"].mean()]
        texts = [
            f"{means[0]:.1f}",
            f"{means[1]:.1f}",
            f"{means[2]:.4f}",
            f"{of['recall'].mean():.4f}",
        ]
        maps = of["test_mAP"] if "test_mAP" in of else pd.Series(dtype=float)
        if maps.isna().any() or maps.empty:
            texts += ["", ""]
        else:
            before = results[results["order"] == NONE]["test_mAP"]
            texts += [spread(maps), "" if name == NONE else spread(maps - before)]
        cells.append([name, *texts])
    return markdown.table(header, cells)


if __name__ == "__main__":
    main()
