"""Compare label rules on simulated scores of another model, alone and in a mean with a teacher's.

    python -m benchmarks.outside_scores
    python -m benchmarks.outside_scores --rules band --qualities 0.7

A simulated model scores every image: separation * truth + noise, with an offset and a scale for
each class, which no single threshold fits. The separation gives it the wanted mean AP on the
training images. Its errors are independent of the image, unlike those of a real model. Each
training is kept below --out, so the command can be stopped and called again. The table is
written after every student.
"""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import brentq

from benchmarks.methods import BAND, PLAIN, PRIOR, SOFT
from benchmarks.options import names
from experiments import markdown, runs
from experiments.runs import Values
from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core import files, identity
from pipeline.core.arrays import BoolMatrix
from pipeline.core.params import check_section
from pipeline.evaluation.metrics import mean_average_precision, pseudo_label_quality, ratio
from pipeline.inference import outside
from pipeline.inference.score import ScoreParams, choose_device
from pipeline.inference.scorer import Scorer
from pipeline.losses import catalogue
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels
from pipeline.training import generations
from pipeline.training.generations import StudentParams
from stages import Stage

VLPL: Values = {"train_student.loss": "vlpl"}
RULES: dict[str, Values] = {
    "band": PRIOR | BAND,
    "tau": {},
    "prior": PRIOR,
    "soft": SOFT,
    "vlpl": PRIOR | VLPL,
}


@click.command(cls=Stage)
@click.argument("params", default="default")
@click.option("--qualities", default="0.5,0.7,0.9", show_default=True, help="mean APs on train")
@click.option("--rules", default=",".join(RULES), show_default=True)
@click.option("--students", default=",".join(RULES), show_default=True, help="rules to train with")
@click.option("--weight", default=0.5, show_default=True, help="share of the outside scores")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--threads", default=1, show_default=True)
@click.option("--out", default=Path(".cache/outside_scores"), type=click.Path(path_type=Path))
def main(
    params: str, qualities: str, rules: str, students: str, weight: float, sets: tuple[str, ...],
    threads: int, out: Path,
) -> None:  # fmt: skip
    """Compare the rules with PARAMS, a file or a preset; write results.csv, table.md to --out."""
    of_labels, of_students = names("--rules", rules, RULES), names("--students", students, RULES)
    base = runs.changed(runs.read_for_every_loss(params, sets), PLAIN)
    torch.set_num_threads(threads)
    bench = Bench(out, base, threads)
    kinds = planned(bench, qualities.split(","), weight)
    rows: dict[tuple[str, str], Values] = {}
    for with_students in (False, True):  # the labels take seconds: they come first
        for rule in of_students if with_students else of_labels:
            for name, values in kinds.items():
                row = bench.row(values, RULES[rule], with_students)
                rows[name, rule] = {"scores": name, "rule": rule} | row
                write(out, pd.DataFrame(rows.values()))
    click.echo((out / "table.md").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Bench:
    """The folder of the kept runs, and their settings."""

    out: Path
    base: Values
    threads: int

    def stages(self, names: list[str], *before: Path) -> Path:
        """Run stages, or take the kept folder."""
        return runs.stages(self.out, self.base, names, *before, threads=self.threads)

    def row(self, values: Values, rule: Values, with_student: bool) -> Values:
        """Return the quality of the labels by a rule, and the mAP of their student."""
        prepared = self.stages(["prepare"])
        taught = self.stages(["train_teacher", "score"], prepared)
        ruled = runs.changed(values, rule)
        index = Run.at(prepared).read_index()
        scores, val_scores = _scores(ruled, index, Run.at(taught))
        params = check_section("params.yaml", "pseudo_label", ruled, PseudoLabelParams)
        pseudo = pseudo_labels(params, index, scores, val_scores)
        truth, known = Run.at(prepared).read_truth(index).known_of(index, "train")
        targets = index.targets[index.rows("train")]
        counts = pseudo_label_quality(pseudo.labels, targets, truth, known)
        right, wrong, hidden = (int(counts[name].sum()) for name in ("right", "wrong", "hidden"))
        val = index.labels[index.rows("val")]
        row: Values = {
            "scores_val_mAP": mean_average_precision(val, val_scores.probs),
            "precision": ratio(right, right + wrong),
            "recall": ratio(right, hidden),
            "ignored": float(pseudo.ignored.mean()),
        }
        if with_student:
            # The labels have no file, so they are named by their digest.
            trained = runs.run_name(ruled, ["pseudo_label", "train_student"], taught, prepared)
            name = f"student-{identity.name_of(trained, pseudo.digest())[:16]}.json"
            row |= self._student(name, Run.at(prepared), ruled, pseudo)
        return row

    def _student(self, name: str, run: Run, values: Values, pseudo: PseudoLabels) -> Values:
        """Train a student, or read the kept metrics of `name`."""
        kept = self.out / name
        if not kept.exists():
            measured = json.dumps(_measured(run, values, pseudo))
            with files.atomic_write(kept) as temporary:
                temporary.write_text(measured)
        row: Values = json.loads(kept.read_text())
        return row


def _scores(values: Values, index: Index, taught: Run) -> tuple[Scores, Scores]:
    """Return the scores of the train and of the val images, as the stage `score` makes them."""
    params = check_section("params.yaml", "score", values, ScoreParams).outside
    teacher = [taught.read_scores(index, split) for split in ("train", "val")]
    if params.file is None:
        return teacher[0], teacher[1]
    given = outside.read(params, index)
    if values["train_teacher"]["source"] == "scores":
        return given["train"], given["val"]
    train, val = (
        replace(of_teacher, probs=outside.mean(of_teacher.probs, given[split].probs, params.weight))
        for split, of_teacher in zip(("train", "val"), teacher, strict=True)
    )
    return train, val


def _measured(run: Run, values: Values, pseudo: PseudoLabels) -> Values:
    """Train a student in this process, since starting a stage would take longer."""
    params = check_section("params.yaml", "train_student", values, StudentParams)
    index = run.read_index()
    make_loss = partial(catalogue.build, params)
    (made,) = generations.train_all("train_student", params, index, pseudo, None, make_loss)
    made.trained.remove_checkpoints()
    probs = Scorer(choose_device("32"), 256).score(made.trained.model, index, "test")
    truth = run.read_truth(index).of(index, "test")
    return {
        "val_mAP": made.trained.best.val_mAP,
        "test_mAP": mean_average_precision(truth, probs),
    }


def planned(bench: Bench, qualities: list[str], weight: float) -> dict[str, Values]:
    """Return the params of each kind of scores by its name; write the tables of scores."""
    run = Run.at(bench.stages(["prepare"]))
    index = run.read_index()
    truth = index.labels.copy()  # of val
    for split in ("train", "test"):
        truth[index.rows(split)] = run.read_truth(index).of(index, split)
    kinds = {"teacher": bench.base}
    for quality in qualities:
        values = simulated(truth, index.rows("train"), float(quality))
        frame = pd.DataFrame(values, columns=list(index.classes))
        frame.insert(0, "image_id", index.image_ids)
        path = bench.out / f"scores-{quality}.parquet"
        with files.atomic_write(path) as temporary:
            frame.to_parquet(temporary, index=False)
        given = {
            "score.outside.file": str(path.resolve()),
            "score.outside.scale": "logit",
            "score.outside.weight": weight,
        }
        alone = given | {"train_teacher.source": "scores"}
        kinds[f"outside, AP {quality}"] = runs.changed(bench.base, alone)
        kinds[f"mean, AP {quality}"] = runs.changed(bench.base, given)
    return kinds


def simulated(
    truth: BoolMatrix, train: npt.NDArray[np.int64], quality: float, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return scores, (N, C), whose mean AP on the rows of `train` is `quality`, from 0 to 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=truth.shape)
    offset, scale = rng.normal(size=truth.shape[1]), rng.uniform(0.5, 2, truth.shape[1])

    def excess(separation: float) -> float:
        scores = (separation * truth + noise)[train]
        return mean_average_precision(truth[train], scores) - 100 * quality

    separation = brentq(excess, 0, 20, xtol=1e-3)
    found: npt.NDArray[np.float64] = scale * (separation * (truth - 0.5) + noise) + offset
    return found


def write(out: Path, results: pd.DataFrame) -> None:
    """Write results.csv and table.md."""
    with files.atomic_write_all(out / "results.csv", out / "table.md") as (rows, text):
        results.to_csv(rows, index=False)
        text.write_text(table(results), encoding="utf-8")


def table(results: pd.DataFrame) -> str:
    """Return a table of the added positives by scores and rule, and one of the students."""
    labels, students = [], []
    rules = list(dict.fromkeys(results["rule"]))
    for name, group in results.groupby("scores", sort=False):
        by_rule: dict[str, Values] = {
            row["rule"]: {str(key): value for key, value in row.items()}
            for row in group.to_dict("records")
        }
        found = [by_rule.get(rule, {}) for rule in rules]
        first = [str(name), f"{found[0]['scores_val_mAP']:.2f}"]
        labels.append([*first, *map(_quality, found)])
        students.append([*first, *(_number(row.get("test_mAP")) for row in found)])
    header = ["scores", "their val mAP", *rules]
    quality, maps = markdown.table(header, labels), markdown.table(header, students)
    return f"Precision, recall and F1 of the added positives:\n\n{quality}\nTest mAP:\n\n{maps}"


def _quality(row: Values) -> str:
    if not row:
        return ""
    if pd.isna(row["precision"]):
        return "none added"
    precision, recall = row["precision"], row["recall"]
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"{precision:.2f}, {recall:.2f}: {f1:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.2f}"


if __name__ == "__main__":
    main()
