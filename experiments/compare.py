"""compare: a table of experiments, averaged over seeds -> reports/compare/.

python -m experiments.compare                       # the experiments that DVC keeps
python -m experiments.compare .cache/sweep/losses   # the runs in a folder and below it
"""

from pathlib import Path
from statistics import mean

import click

from experiments import dvc_runs, finished, table
from experiments.keys import grouping_keys
from pipeline.artifacts.run import Run
from pipeline.core import files
from pipeline.core.errors import InputError, some
from pipeline.figures import compare as figure
from pipeline.inspection.terminal import escaped
from pipeline.reports import overview, results_page
from stages import Stage

SPREAD = "Mean ± standard deviation over runs that differ only in their seeds."
BOLD = f"Bold: the best on val. {SPREAD}"
FIGURE = (
    "Test mAP of students and teachers",
    "Each dot is a student, each diamond a mean. The square marks the row that val chooses.",
)


@click.command(cls=Stage)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--by", multiple=True, metavar="KEY", help="Group the rows by these params instead.")
@click.option("--all-commits", is_flag=True, help="Include the experiments of every commit.")
def main(folders: tuple[Path, ...], by: tuple[str, ...], all_commits: bool) -> None:
    """Compare the runs in FOLDERS; without FOLDERS, DVC's experiments and the workspace.

    A row holds the runs that differ only in their seeds. The best row on val is bold.
    """
    if folders and all_commits:
        raise InputError(
            "--all-commits: concerns the experiments of DVC; should be given without folders"
        )
    found = finished.in_folders(folders) if folders else dvc_runs.kept(all_commits)
    left_out = escaped(f"left out: {some(found.left_out)}") if found.left_out else ""
    if not found.runs:
        raise InputError(
            f"no run has metrics{left_out and '; ' + left_out}; should be at least one"
        )
    runs = table.without_duplicates(found.runs)
    keys = grouping_keys(runs, by)
    rows = table.rows(runs, keys)
    columns = table.needed(rows, keys)
    text = table.markdown(rows, keys, columns) + f"\n{BOLD}\n"
    notes = table.notes(rows, keys, columns)
    out = Run().reports / "compare"
    with files.atomic_write(out) as folder:
        folder.mkdir()
        (folder / "table.md").write_text(text, encoding="utf-8")
        files.write_csv(folder / "table.csv", table.columns_of_rows(rows, keys))
        files.write_csv(folder / "runs.csv", table.columns_of_runs(rows, keys))
        groups = [group for row in rows if (group := _group(row, keys, columns)).students]
        if groups:
            figure.students(folder / "compare.png", folder / "compare.svg", groups=groups)
        shown = table.in_words(rows, keys, columns, "★ {}")
        page = _page(shown, notes, {"compare.png": FIGURE} if groups else {})
        (folder / "index.html").write_text(page, encoding="utf-8")
    overview.refresh(Run())
    click.echo(text, nl=False)
    for note in notes:
        click.echo(f"note: {note}")
    if left_out:
        click.echo(left_out)
    if len(columns) < len(keys):
        hidden = some([escaped(key) for key in keys if key not in columns], 3)
        click.echo(f"{hidden} differ only together with these; table.csv has them")
    if mixed := table.mixed(rows):
        click.echo(f"runs of a row also differ in {some([escaped(key) for key in mixed])}")
    if repeated := table.repeated(rows):
        names = some([escaped(run.name) for run in repeated])
        click.echo(f"runs with the same params as another run, but other metrics: {names}")
    click.echo(f"runs: {len(runs):,}, rows: {len(rows):,}; table and figure: {out / 'index.html'}")


def _page(runs: dict[str, list[str]], notes: list[str], figures: dict[str, tuple[str, str]]) -> str:
    return results_page.page(
        "Comparison of runs",
        f"Each row has the runs of equal params. {SPREAD} A star marks the best on val.",
        notes,
        {"Runs": runs},
        figures,
        ["table.csv", "runs.csv", "table.md"],
    )


def _group(row: table.Row, keys: list[str], columns: list[str]) -> figure.Group:
    val = row.measured(table.CHOSEN_BY)
    return figure.Group(
        table.label(row, keys, columns), row.measured("student.mAP"), row.measured("teacher.mAP"),
        mean(val) if val else float("nan"),
        row.preferred and row.best_on_val == table.CHOSEN_BY,
    )  # fmt: skip


if __name__ == "__main__":
    main()
