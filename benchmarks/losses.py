"""Compare all losses as teachers, with the same data, settings and seeds.

    python -m benchmarks.losses params.yaml
    python -m benchmarks.losses mobilenet_v2 --set train.mode=linear \
        --set prepare.table.file=labels.csv --lrs 1e-4,3e-4,1e-3,3e-3,1e-2

With --lrs val chooses the learning rate of each loss (mean over seeds). Test mAP is only
reported. The losses' settings come from the params file, else from the shipped one. Finished
runs are kept in --out, so the command can be stopped and called again, also with more seeds or
learning rates. Delete the folder after a change of code.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import pandas as pd
from tqdm import tqdm

from experiments import markdown, runs
from experiments.runs import Values, spread
from experiments.used import by_training
from pipeline.artifacts.run import Run
from stages import Stage

ORACLES: dict[str, Values] = {"bce": runs.FULL_LABELS, "iun": runs.IUN}
# In the order of the poster of Zhou et al. 2022, then those that are not on it.
ORDER = (
    "bce", "iun", "an", "dw", "l1r", "l2r", "ls", "n_ls", "entmin", "focal", "asl", "role", "em",
    "em_apl", "wan", "epr", "hill", "splc", "ll_r", "ll_ct", "ll_cp", "gr", "crisp",
)  # fmt: skip


@click.command(cls=Stage)
@click.argument("params")
@click.option("--seeds", default="0,1,2", show_default=True, help="seeds of the teacher")
@click.option("--lrs", help="learning rates to choose from; default: that of the params file")
@click.option("--losses", default=",".join(ORDER), help="names of losses; default: all")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--jobs", default=1, show_default=True, help="runs at a time; they share the cores")
@click.option("--out", default=Path(".cache/losses"), type=click.Path(path_type=Path))
def main(
    params: str, seeds: str, lrs: str | None, losses: str, sets: tuple[str, ...], jobs: int,
    out: Path,
) -> None:  # fmt: skip
    """Train a teacher per loss, seed and learning rate of PARAMS, a file or a preset."""
    base = runs.read_for_every_loss(params, sets)
    teacher = by_training(base)["train_teacher"]
    phase = "linear" if teacher["mode"] == "linear" else "fit"
    lr_key = f"train_teacher.train.{phase}.lr"
    tried = lrs.split(",") if lrs else [teacher[phase]["lr"]]
    planned: list[tuple[str, int, float, Values]] = []
    for seed in (int(seed) for seed in seeds.split(",")):
        for loss in losses.split(","):
            for lr in (float(lr) for lr in tried):
                changes = {"train_teacher.loss": loss, "train_teacher.seed": seed, lr_key: lr}
                values = runs.changed(base, ORACLES.get(loss, {}) | changes)
                planned.append((loss, seed, lr, values))
    results = pd.DataFrame(_all(out, planned, jobs)).sort_values(["loss", "lr", "seed"])
    results.to_csv(out / "results.csv", index=False)
    table = _table(results, losses.split(","))
    (out / "table.md").write_text(table, encoding="utf-8")
    click.echo(table)


def _all(out: Path, planned: list[tuple[str, int, float, Values]], jobs: int) -> list[Values]:
    """Run the planned runs that are not kept, several at a time; return a row for each."""
    out.mkdir(parents=True, exist_ok=True)
    for *_, values in planned:  # now, since two processes must not prepare the same folder
        runs.stages(out, values, ["prepare"])
    threads = max((os.cpu_count() or 1) // jobs, 1)
    rows = []
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (threads,)) as pool:
        futures = {
            pool.submit(_one, out, values): {"loss": loss, "seed": seed, "lr": lr}
            for loss, seed, lr, values in planned
        }
        for future in tqdm(as_completed(futures), "runs", total=len(futures)):
            rows.append(futures[future] | future.result())
    return rows


def _start(threads: int) -> None:
    import torch

    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(threads)


def _one(out: Path, values: Values) -> Values:
    """Train a teacher and measure it, or read the kept measurement."""
    prepared = runs.stages(out, values, ["prepare"])
    name = runs.run_name(values, ["train_teacher", "measure_teacher"], prepared)
    kept = out / f"teacher-{name[:16]}.json"
    if not kept.exists():
        measured = json.dumps(_measure(Run.at(prepared), values))
        partial = kept.with_suffix(".partial")
        partial.write_text(measured)
        partial.rename(kept)
    row: Values = json.loads(kept.read_text())
    return row


def _measure(run: Run, values: Values) -> Values:
    from functools import partial

    from pipeline.core.params import check_section
    from pipeline.evaluation.metrics import mean_average_precision
    from pipeline.inference.score import choose_device
    from pipeline.inference.scorer import Scorer
    from pipeline.losses import catalogue
    from pipeline.training.teachers import TrainTeacherParams
    from pipeline.training.train import TrainingData, train

    params = check_section("params.yaml", "train_teacher", values, TrainTeacherParams)
    index = run.read_index()
    data = TrainingData(index, index.targets[index.rows("train")])
    make_loss: Any = partial(catalogue.build, params)
    trained = train("train_teacher", params, data, make_loss)
    fabric = choose_device("32")
    fabric.to_device(trained.model)
    truth = run.read_truth(index).of(index, "test")
    probs = Scorer(fabric, 256).score(trained.model, index, "test")
    return {
        "best_epoch": trained.best.epoch,
        "val_mAP": trained.best.val_mAP,
        "test_mAP": mean_average_precision(truth, probs),
    }


def _table(results: pd.DataFrame, losses: list[str]) -> str:
    """Return the table as Markdown, with the learning rate that val prefers for each loss."""
    rows = []
    for loss in losses:
        of_loss = results[results["loss"] == loss]
        lr = of_loss.groupby("lr")["val_mAP"].mean().idxmax()
        group = of_loss[of_loss["lr"] == lr]
        rows.append([loss, f"{lr:g}", spread(group["val_mAP"]), spread(group["test_mAP"])])
    return markdown.table(["loss", "learning rate", "val mAP", "test mAP"], rows)


if __name__ == "__main__":
    main()
