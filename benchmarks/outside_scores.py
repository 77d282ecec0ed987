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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import brentq

from benchmarks.methods import BAND, PLAIN, PRIOR, SOFT
from experiments import markdown, runs
from experiments.runs import Values
from pipeline.artifacts.run import Run
from pipeline.core import files
from pipeline.core.arrays import BoolMatrix
from pipeline.core.errors import InputError
from pipeline.core.params import check_section
from pipeline.evaluation.metrics import mean_average_precision, pseudo_label_quality, ratio
from pipeline.inference.score import choose_device
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
# The rules that the teacher alone and the mean of both are tried with.
NOT_ALONE = ("band", "tau")


@click.command(cls=Stage)
@click.argument("params", default="default")
@click.option("--qualities", default="0.5,0.7,0.9", show_default=True, help="mean APs on train")
@click.option("--rules", default=",".join(RULES), show_default=True)
@click.option("--weight", default=0.5, show_default=True, help="share of the outside scores")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--threads", default=1, show_default=True)
@click.option("--out", default=Path(".cache/outside_scores"), type=click.Path(path_type=Path))
def main(
    params: str, qualities: str, rules: str, weight: float, sets: tuple[str, ...], threads: int,
    out: Path,
) -> None:  # fmt: skip
    """Compare the rules with PARAMS, a file or a preset; write results.csv, table.md to --out."""
    unknown = [rule for rule in rules.split(",") if rule not in RULES]
    if unknown:
        raise InputError(f"--rules {unknown[0]!r}: should be of {', '.join(RULES)}")
    base = runs.changed(runs.read_for_every_loss(params, sets), PLAIN)
    torch.set_num_threads(threads)
    bench = Bench(out, base, threads)
    rows = []
    kinds = planned(bench, qualities.split(","), weight)
    for rule in rules.split(","):
        for name, values in kinds.items():
            if not name.startswith("outside") and rule not in NOT_ALONE:
                continue
            rows.append({"scores": name, "rule": rule} | bench.student(values, RULES[rule]))
            write(out, pd.DataFrame(rows))
    click.echo((out / "table.md").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Bench:
    """The folder of the kept runs, and their settings."""

    out: Path
    base: Values
    threads: int

    def stages(self, values: Values, names: list[str], *before: Path) -> Path:
        """Run stages, or take the kept folder."""
        return runs.stages(self.out, values, names, *before, threads=self.threads)

    def student(self, values: Values, rule: Values) -> Values:
        """Train a student on the labels of a rule, or read the kept metrics."""
        prepared = self.stages(values, ["prepare"])
        scored = self.stages(values, ["train_teacher", "score"], prepared)
        ruled = runs.changed(values, rule)
        name = runs.run_name(ruled, ["pseudo_label", "train_student"], scored, prepared)
        kept = self.out / f"student-{name[:16]}.json"
        if not kept.exists():
            measured = json.dumps(_measured(Run.at(prepared), Run.at(scored), ruled))
            with files.atomic_write(kept) as temporary:
                temporary.write_text(measured)
        row: Values = json.loads(kept.read_text())
        return row


def _measured(prepared: Run, scored: Run, values: Values) -> Values:
    """Train a student in this process, since starting three stages would take longer."""
    labelling = check_section("params.yaml", "pseudo_label", values, PseudoLabelParams)
    params = check_section("params.yaml", "train_student", values, StudentParams)
    index = prepared.read_index()
    scores, val_scores = (scored.read_scores(index, split) for split in ("train", "val"))
    pseudo = pseudo_labels(labelling, index, scores, val_scores)
    make_loss = partial(catalogue.build, params)
    (made,) = generations.train_all("train_student", params, index, pseudo, None, make_loss)
    made.trained.remove_checkpoints()
    truth = prepared.read_truth(index)
    probs = Scorer(choose_device("32"), 256).score(made.trained.model, index, "test")
    targets = index.targets[index.rows("train")]
    counts = pseudo_label_quality(pseudo.labels, targets, *truth.known_of(index, "train"))
    right, wrong, hidden = (int(counts[name].sum()) for name in ("right", "wrong", "hidden"))
    return {
        "scores_val_mAP": mean_average_precision(index.labels[index.rows("val")], val_scores.probs),
        "val_mAP": made.trained.best.val_mAP,
        "test_mAP": mean_average_precision(truth.of(index, "test"), probs),
        "precision": ratio(right, right + wrong),
        "recall": ratio(right, hidden),
    }


def planned(bench: Bench, qualities: list[str], weight: float) -> dict[str, Values]:
    """Return the params of each kind of scores by its name; write the tables of scores."""
    run = Run.at(bench.stages(bench.base, ["prepare"]))
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
    """Return test mAP by scores and rule, and precision and recall of the added positives."""
    rows = []
    tried = [rule for rule in RULES if (results["rule"] == rule).any()]
    for name, group in results.groupby("scores", sort=False):
        scored = group["scores_val_mAP"].iloc[0]
        by_rule = group.set_index("rule")
        best = by_rule["val_mAP"].idxmax()
        cells = []
        for rule in tried:
            if rule not in by_rule.index:
                cells.append("")
                continue
            found = by_rule.loc[rule]
            labels = f"({found['precision']:.2f}, {found['recall']:.2f})"
            mark = "**" if rule == best else ""
            cells.append(f"{mark}{found['test_mAP']:.2f}{mark} {labels}")
        rows.append([str(name), f"{scored:.2f}", *cells])
    return markdown.table(["scores", "their val mAP", *tried], rows)


if __name__ == "__main__":
    main()
