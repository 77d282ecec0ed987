"""The comparison of losses, rules and controls: its methods and tables."""

import re
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import cells, compare, comparison, losses, tau_cost
from benchmarks.methods import METHODS, ORACLES, with_steps
from experiments import runs
from pipeline.core.errors import InputError
from pipeline.core.params import check_section
from pipeline.pseudo_labels.rules import PseudoLabelParams
from pipeline.training.generations import StudentParams
from pipeline.training.teachers import TrainTeacherParams
from presets import preset
from tests.conftest import PARAMS


@pytest.fixture
def values() -> dict[str, Any]:
    """Return params where the student has other training settings and many options are on."""
    return runs.changed(
        runs.read(PARAMS),
        {
            "train_student.train.augment.zoom": 0.3,
            "train_student.train.fit.ema": 0.9,
            "train_student.generations": 5,
            "pseudo_label.rule": "soft",
            "score.flip": True,
        },
    )


def test_every_method_makes_valid_params(values: dict[str, Any]) -> None:
    for method in METHODS.values():
        made = method.params(values)
        check_section("params.yaml", "train_teacher", made, TrainTeacherParams)
        check_section("params.yaml", "train_student", made, StudentParams)
        for tau in method.taus or (made["pseudo_label"]["tau"],):
            PseudoLabelParams.model_validate(made["pseudo_label"] | {"tau": tau})
    for changes in ORACLES.values():
        made = runs.changed(values, changes)
        check_section("params.yaml", "train_teacher", made, TrainTeacherParams)


def test_a_control_differs_from_the_teacher_only_by_the_students_training_settings(
    values: dict[str, Any],
) -> None:
    teacher, control = METHODS["teacher"].params(values), METHODS["control"].params(values)
    assert teacher["train_teacher"] == values["train_teacher"]
    assert control["train_teacher"]["train"] == values["train_student"]["train"]
    assert control["train"] == values["train"]
    for control_params, teacher_params in ((control, teacher), (teacher, teacher)):
        rest = [
            {key: params["train_teacher"][key] for key in ("seed", "members", "folds", "loss")}
            for params in (control_params, teacher_params)
        ]
        assert rest[0] == rest[1]


def test_plain_students_have_the_teachers_training_settings_and_no_options(
    values: dict[str, Any],
) -> None:
    made = METHODS["tau"].params(values)
    assert made["train_student"]["train"] == values["train_teacher"]["train"] == {}
    assert made["train_student"]["generations"] == 1
    assert made["score"]["flip"] is False
    assert (made["pseudo_label"]["rule"], made["pseudo_label"]["calibrate"]) == ("tau", "none")
    assert METHODS["shipped"].params(values) == values


def _results() -> pd.DataFrame:
    """Return two runs of AN, WAN and the oracle, and of WAN's students of two generations."""
    test = {
        ("an", "teacher", None): (80.0, 82.5),
        ("an", "control", None): (81.0, 83.5),
        ("wan", "teacher", None): (90.0, 91.0),
        ("full_labels", "oracle", None): (100.0, 98.0),
        ("wan", "shipped", 1): (93.0, 95.0),
        ("wan", "shipped", 2): (94.0, 97.0),
        ("wan", "tau", 1): (99.0,),
    }
    val = {("wan", "shipped", 1): 90.0, ("wan", "shipped", 2): 89.0, ("wan", "tau", 1): 99.0}
    return pd.DataFrame(
        {
            "loss": loss, "method": method, "generation": generation, "run": run,
            "test_mAP": value, "val_mAP": val.get((loss, method, generation), 80.0),
        }
        for (loss, method, generation), maps in test.items()
        for run, value in enumerate(maps)
    )  # fmt: skip


def test_val_chooses_among_the_students_with_all_runs() -> None:
    # tau has the highest val mAP, but only one run. Generation 2 has the highest test mAP.
    results = _results().assign(generation=lambda rows: rows["generation"].fillna(0).astype(int))
    assert comparison.best_student(results, 2) == ("wan", "shipped", 1)
    assert comparison.best_student(results, 3) is None


def test_the_table_has_means_differences_by_run_and_closed_shares() -> None:
    output = re.sub(" +", " ", comparison.table(_results(), 2))
    assert "| teacher | 81.25 ± 1.77 | 90.50 ± 0.71 |" in output
    assert "| shipped | | **94.00 ± 1.41** |" in output
    assert "| shipped, generation 2 | | 95.50 ± 2.12 |" in output
    assert "| tau | | 99.00 (1) |" in output
    assert "| an | +12.75 ± 0.35 (p = 0.012) | +11.75 ± 0.35 (p = 0.014) |" in output
    # By run 3 and 4: t = 3.5 / .5 = 7 at one degree of freedom.
    assert "| wan | +3.50 ± 0.71 (p = 0.090) | |" in output
    assert "| full_labels | -5.00 ± 2.83 (p = 0.242) | |" in output
    assert "| closed of AN to all labels | 72 % | |" in output  # 94 between 81.25 and 99


def test_a_missing_kept_run_is_not_run(values: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(runs.NotKeptError):
        runs.stages(tmp_path, values, ["prepare"], kept=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [compare.main, losses.main, tau_cost.main])
def test_params_that_are_no_file_and_no_preset_are_an_error_of_one_line(
    command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["nix"])
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: nix: no such file; should be a file or a preset: default"
    )
    assert result.output.count("\n") == 1


def test_a_preset_and_its_file_are_the_same_params(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(preset.text("cub_gr"))
    assert runs.read_or_preset("cub_gr") == runs.read_or_preset(str(path))


def test_val_is_trained_on_with_the_last_epoch_kept(values: dict[str, Any]) -> None:
    for name in ("val added", "val alone"):
        assert METHODS[name].params(values)["train_teacher"]["train"]["fit"]["keep"] == "last"
    assert METHODS["long"].params(values)["train_teacher"]["train"]["fit"]["epochs"] == 30
    assert METHODS["ensemble"].params(values)["train_teacher"]["members"] == 2


@pytest.mark.parametrize(
    ("mode", "phases"), [("end_to_end", {"fit"}), ("linear", {"linear"}),
                         ("linear_init", {"fit", "linear"})],
)  # fmt: skip
def test_steps_multiply_the_epochs_of_the_phases_in_use(
    values: dict[str, Any], mode: str, phases: set[str]
) -> None:
    base = runs.changed(values, {"train.mode": mode, "train_teacher.train.fit.epochs": 10})
    teacher = with_steps(base, 2.5)["train_teacher"]["train"]
    epochs = {phase: settings["epochs"] for phase, settings in teacher.items()}
    assert epochs == {"fit": 10} | {phase: {"fit": 25, "linear": 62}[phase] for phase in phases}


def test_a_cell_has_its_draw_seeds_and_chosen_values(values: dict[str, Any]) -> None:
    lr, tau = ("train_teacher.train.fit.lr", 0.5), ("pseudo_label.tau", 0.3)
    made = cells.Cell("em", METHODS["tau"], 3, (lr, tau)).params(values)
    assert made["prepare"]["observe"]["seed"] == 3
    assert (made["train_teacher"]["seed"], made["train_student"]["seed"]) == (300, 300)
    assert made["train_teacher"]["loss"] == "em"
    # A plain student has the teacher's training settings, the chosen ones as well.
    assert made["train_teacher"]["train"]["fit"]["lr"] == 0.5
    assert made["train_student"]["train"]["fit"]["lr"] == 0.5
    assert made["pseudo_label"]["tau"] == 0.3
    alone = cells.Cell("bce", METHODS["val alone"], 0).params(values)
    assert alone["train_teacher"]["loss"] == "bce"


def test_a_value_at_the_edge_of_its_candidates_is_pointed_out() -> None:
    chosen = {"an": (("a.lr", 0.1),), "em": (("a.lr", 0.2),)}
    assert compare._at_edges(chosen, {"a.lr": [0.1, 0.2, 0.3]}) == [
        "an: a.lr = 0.1 is at the edge of its candidates."
    ]


@pytest.mark.parametrize("given", ["lr", "lr=", "lr=1e-3,fast"])
def test_candidates_that_are_no_numbers_are_refused(given: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--tune {given!r}: should be section.key")):
        compare._candidates(given)


@pytest.mark.slow
def test_values_are_chosen_and_val_alone_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPML_CACHE", str(tmp_path / "cache"))
    options = [
        "default", "--runs", "1", "--methods", "val alone",
        "--tune", "train_teacher.train.fit.lr=1e-9,1e-2", "--out", str(tmp_path / "out"),
        *(f"--set=prepare.digits.{key}" for key in ("n_train=40", "n_val=20", "n_test=20")),
        "--set=train.fit.epochs=2", "--set=train.fit.batch_size=8",
    ]  # fmt: skip
    result = CliRunner().invoke(compare.main, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert rows["loss"].tolist() == ["bce"]
    assert rows["test_mAP"].between(1, 99).all()
    assert rows["tuned"].str.startswith("train_teacher.train.fit.lr=").all()
    assert "at the edge of its candidates" in result.output
    assert "BCE on val alone" in result.output
    params = runs.read(next((tmp_path / "out").glob("train_teacher-*")) / "params.yaml")
    assert params["train_teacher"]["train"]["fit"]["epochs"] == 2 * 40 // 20  # as many steps
