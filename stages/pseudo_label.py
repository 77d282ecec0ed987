"""pseudo_label: index, scores -> data/pseudo_labels.parquet, reports/pseudo_label/."""

import json
from dataclasses import replace

import click

from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.core import files, places
from pipeline.core.params import read_section
from pipeline.pseudo_labels import corrections
from pipeline.pseudo_labels.rules import (
    PseudoLabelParams,
    in_words,
    needs_val_scores,
    pseudo_labels,
    summary,
    summary_per_class,
)
from stages import PARAMS, SoloStage


@click.command(cls=SoloStage)
def main() -> None:
    """Turn the teacher's scores into pseudo-labels, which the student takes as complete."""
    params = read_section(PARAMS, "pseudo_label", PseudoLabelParams)
    run = Run()
    index = run.read_index()
    scores = run.read_scores(index)
    val_scores = run.read_scores(index, "val") if needs_val_scores(params) else None
    file = places.corrections_file(params.corrections, "pseudo_label.corrections")
    answers = None if file is None else corrections.read(file, index)
    pseudo = pseudo_labels(params, index, scores, val_scores, answers)
    about = tables.made_from(index=index.digest(), scores=scores.digest())
    pseudo = replace(pseudo, about=about)
    counts = summary(pseudo)
    with files.atomic_write_all(run.pseudo_labels, run.reports / "pseudo_label") as (path, folder):
        tables.write_pseudo_labels(path, pseudo, index.classes)
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps(counts, indent=2) + "\n")
        files.write_csv(folder / "per_class.csv", summary_per_class(pseudo, index.classes))
    if counts["added_per_image"] == 0:
        click.echo(f"warning: no score above tau = {params.tau} adds a label", err=True)
    ignored = ""
    if "ignored_per_image" in counts:
        ignored = f", {counts['ignored_per_image']:.2f} classes ignored"
    corrected = f", {counts['corrected']} corrected" if "corrected" in counts else ""
    click.echo(
        f"{in_words(params)}: {counts['positives_per_image']:.2f} positives an image, "
        f"{counts['added_per_image']:.2f} of them added{ignored}{corrected}: {run.pseudo_labels}"
    )


if __name__ == "__main__":
    main()
