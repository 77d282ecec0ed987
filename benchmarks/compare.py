"""Teacher, students over tau, assume-negative and the full-label oracle, over seeds.

    python -m benchmarks.compare params.yaml --seeds 0,1,2 --taus 0.3,0.4,0.5

Every run is the stages themselves, in a folder of its own below --out. A run that has ended
is kept: the command can be stopped and called again, and more seeds or taus can be added.
The table goes to the screen and to --out as results.csv (a row per run) and table.md. tau is
chosen by the mean val mAP of the students; test mAP is reported, never looked at for a choice.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pandas as pd
from ruamel.yaml import YAML
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
Changes = dict[str, Any]

FULL_LABELS: Changes = {
    "prepare.observe.num_pos": "all",
    "prepare.observe.num_neg": "all",
    "train_teacher.loss": "bce",
}
IUN: Changes = FULL_LABELS | {"prepare.observe.num_pos": 1}
AN: Changes = {"train_teacher.loss": "an"}


@click.command()
@click.argument("params", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seeds", default="0,1,2", show_default=True, help="of teacher and student")
@click.option("--taus", required=True, help="thresholds of the students, as 0.3,0.4")
@click.option("--iun/--no-iun", default=False, help="the oracle with every negative, too")
@click.option("--out", default=Path(".cache/compare"), type=click.Path(path_type=Path))
def main(params: Path, seeds: str, taus: str, iun: bool, out: Path) -> None:
    """Run the comparison for a params file and print its table."""
    base = YAML(typ="safe", pure=True).load(params.read_text())
    teacher = base["train_teacher"]["loss"]
    runs: list[tuple[str, int, Changes, float | None]] = []
    for seed in (int(seed) for seed in seeds.split(",")):
        seeded = {"train_teacher.seed": seed, "train_student.seed": seed}
        runs.append(("full labels (oracle)", seed, seeded | FULL_LABELS, None))
        if iun:
            runs.append(("1 positive, all negatives (IUN, oracle)", seed, seeded | IUN, None))
        runs.append(("an", seed, seeded | AN, None))
        if teacher != "an":
            runs.append((f"{teacher} teacher", seed, seeded, None))
        for tau in (float(tau) for tau in taus.split(",")):
            changes = seeded | {"pseudo_label.tau": tau}
            runs.append((f"{teacher} student, tau {tau:g}", seed, changes, tau))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, seed, changes, tau in tqdm(runs, "runs"):
        rows.append({"method": name, "seed": seed, "tau": tau} | _run(out, base, changes, tau))
        results = pd.DataFrame(rows)
        results.to_csv(out / "results.csv", index=False)
    table = _table(results)
    (out / "table.md").write_text(table)
    click.echo(table)


def _run(out: Path, base: Changes, changes: Changes, tau: float | None) -> Changes:
    """Run teacher, and student if there is a tau; stages that are shared run once."""
    values = json.loads(json.dumps(base))
    for key, value in changes.items():
        section, *parents, last = key.split(".")
        place = values[section]
        for name in parents:
            place = place[name]
        place[last] = value
    prepared = _stages(out, values, ["prepare"], None)
    teacher = _stages(out, values, ["train_teacher", "score"], prepared)
    folder, network = teacher, "teacher"
    if tau is not None:
        folder = _stages(out, values, ["pseudo_label", "train_student"], teacher)
        network = "student"
    kept = folder / f"{network}.json"
    if not kept.exists():
        kept.write_text(json.dumps(_measure(folder, network)))
    seconds = json.loads((folder / "seconds.json").read_text())
    return json.loads(kept.read_text()) | {f"{stage}_s": s for stage, s in seconds.items()}


def _stages(out: Path, values: Changes, stages: list[str], before: Path | None) -> Path:
    """Run stages in a folder named by all that their result depends on; return the folder."""
    needed = {stage: values[stage] for stage in stages}
    key = json.dumps([needed, before.name if before else None], sort_keys=True)
    name = f"{stages[0]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    folder = out / name
    if folder.exists():
        return folder
    partial = out / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    if before:
        shutil.copytree(before / "data", partial / "data", copy_function=os.link)
    else:
        partial.mkdir()
    buffer = io.StringIO()
    YAML().dump(values, buffer)
    (partial / "params.yaml").write_text(buffer.getvalue())
    seconds = {}
    for stage in stages:
        started = time.perf_counter()
        _call(partial, stage, out)
        seconds[stage] = round(time.perf_counter() - started, 1)
    (partial / "seconds.json").write_text(json.dumps(seconds))
    partial.rename(folder)
    return folder


def _call(folder: Path, stage: str, out: Path) -> None:
    """Run a stage as a command, its output kept in a log."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPML_CACHE": str(out.resolve() / "kept")}
    with (folder / f"{stage}.log").open("w") as log:
        command = [sys.executable, "-m", f"stages.{stage}"]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        said = (folder / f"{stage}.log").read_text().strip().splitlines()
        raise click.ClickException(f"{folder}: {stage} failed: {said[-1] if said else ''}")


def _measure(folder: Path, network: str) -> Changes:
    """Return val and test mAP of a model, and the quality of the pseudo-labels it learned from."""
    from pipeline import curves, gallery, models, tables
    from pipeline.metrics import mean_average_precision, pseudo_label_quality, ratio
    from pipeline.score import choose_device, predict

    os.environ["SPML_CACHE"] = str(folder.resolve().parent / "kept")
    index = tables.read_index(folder / "data" / "index.parquet")
    truth = tables.read_truth(folder / "data" / "truth.parquet")
    model = models.load(folder / "data" / network / "model.safetensors")
    embedded = folder / "data" / "images.parquet"
    pictures = gallery.load(index, index.rows("test"), model.spec.input_size, embedded)
    fabric = choose_device("32")
    probs = predict(fabric, fabric.to_device(model), pictures, 256)
    history = curves.read(folder / "reports" / f"train_{network}")
    measured: Changes = {
        "val_mAP": max(history["val_mAP"]),
        "test_mAP": mean_average_precision(truth.of(index, "test"), probs),
    }
    if network == "student":
        pseudo = tables.read_pseudo_labels(folder / "data" / "pseudo_labels.parquet")
        targets = index.targets[index.rows("train")]
        counts = pseudo_label_quality(pseudo.labels, targets, truth.of(index, "train"))
        total = {name: int(count.sum()) for name, count in counts.items()}
        measured |= {
            "precision": ratio(total["right"], total["added"]),
            "recall": ratio(total["right"], total["hidden"]),
            "positives_per_image": float(pseudo.labels.sum(axis=1).mean()),
        }
    return measured


def _table(results: pd.DataFrame) -> str:
    """Return mean and standard deviation over seeds as Markdown, the tau chosen by val marked."""
    lines = [
        "| method | val mAP | test mAP | precision | recall | positives per image |",
        "|---|---|---|---|---|---|",
    ]
    students = results[results["tau"].notna()].groupby("method")["val_mAP"].mean()
    for method, group in results.groupby("method", sort=False):
        chosen = " **(chosen by val)**" if method == students.idxmax() else ""
        cells = [f"{method}{chosen}", _spread(group["val_mAP"]), _spread(group["test_mAP"])]
        for column in ("precision", "recall", "positives_per_image"):
            mean = group[column].mean()
            cells.append("" if pd.isna(mean) else f"{mean:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: "pd.Series[float]") -> str:
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


if __name__ == "__main__":
    main()
