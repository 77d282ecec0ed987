"""Teacher, students over tau, assume-negative and the full-label oracle, over seeds.

    python -m benchmarks.compare params.yaml --seeds 0,1,2 --taus 0.3,0.4,0.5

Every run is the stages themselves, in a folder of its own below --out. A run that has ended
is kept: the command can be stopped and called again, and more seeds or taus can be added.
The table goes to the screen and to --out as results.csv (a row per run) and table.md. tau is
chosen by the mean val mAP of the students; test mAP is reported, never looked at for a choice.
"""

from pathlib import Path

import click
import pandas as pd
from tqdm import tqdm

from experiments import runs
from experiments.runs import Values, spread
from experiments.sweep import STUDENT


@click.command()
@click.argument("params", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seeds", default="0,1,2", show_default=True, help="of teacher and student")
@click.option("--taus", required=True, help="thresholds of the students, as 0.3,0.4")
@click.option("--iun/--no-iun", default=False, help="the oracle with every negative, too")
@click.option("--out", default=Path(".cache/compare"), type=click.Path(path_type=Path))
def main(params: Path, seeds: str, taus: str, iun: bool, out: Path) -> None:
    """Run the comparison for a params file and print its table."""
    base = runs.read(params)
    teacher = base["train_teacher"]["loss"]
    planned: list[tuple[str, int, Values, float | None]] = []
    for seed in (int(seed) for seed in seeds.split(",")):
        seeded = {"train_teacher.seed": seed, "train_student.seed": seed}
        planned.append(("full labels (oracle)", seed, seeded | runs.FULL_LABELS, None))
        if iun:
            planned.append(
                ("1 positive, all negatives (IUN, oracle)", seed, seeded | runs.IUN, None)
            )
        planned.append(("an", seed, seeded | runs.AN, None))
        if teacher != "an":
            planned.append((f"{teacher} teacher", seed, seeded, None))
        for threshold in (float(tau) for tau in taus.split(",")):
            changes = seeded | {"pseudo_label.tau": threshold}
            planned.append((f"{teacher} student, tau {threshold:g}", seed, changes, threshold))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, seed, changes, tau in tqdm(planned, "runs"):
        rows.append({"method": name, "seed": seed, "tau": tau} | _run(out, base, changes, tau))
        results = pd.DataFrame(rows)
        results.to_csv(out / "results.csv", index=False)
    table = _table(results)
    (out / "table.md").write_text(table)
    click.echo(table)


def _run(out: Path, base: Values, changes: Values, tau: float | None) -> Values:
    """Run teacher, and student if there is a tau; stages that are shared run once."""
    values = runs.changed(base, changes)
    prepared = runs.stages(out, values, ["prepare"])
    if tau is None:
        folder = runs.stages(out, values, ["train_teacher", "measure"], prepared)
        return runs.teacher_of(folder)
    teacher = runs.stages(out, values, ["train_teacher", "score"], prepared)
    # The student's stages read what prepare made, too.
    folder = runs.stages(out, values, STUDENT, teacher, prepared)
    return runs.student_of(folder)


def _table(results: pd.DataFrame) -> str:
    """Return mean and standard deviation over seeds as Markdown, the tau chosen by val marked."""
    lines = [
        "| method | val mAP | test mAP | precision | recall | positives per image |",
        "|---|---|---|---|---|---|",
    ]
    students = results[results["tau"].notna()].groupby("method")["val_mAP"].mean()
    for method, group in results.groupby("method", sort=False):
        chosen = " **(chosen by val)**" if method == students.idxmax() else ""
        cells = [f"{method}{chosen}", spread(group["val_mAP"]), spread(group["test_mAP"])]
        for column in ("precision", "recall", "positives_per_image"):
            mean = group[column].mean()
            cells.append("" if pd.isna(mean) else f"{mean:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
