"""The methods that benchmarks.compare compares, each as changes of a params file.

Each rule is tried alone, with a student that has the teacher's training settings ("plain"). Then
the soft rule is combined with one addition at a time. "shipped" is the unchanged params file.
"""

from dataclasses import dataclass, field
from typing import Literal

from experiments import runs
from experiments.runs import Values
from experiments.used import by_training
from pipeline.training.train import PHASES

# The range of the Tiny Paper, and a range for all teachers.
PAPER_TAUS = (0.55, 0.65, 0.75, 0.85, 0.95)
TAUS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)

ORACLES: dict[str, Values] = {"full_labels": runs.FULL_LABELS, "iun": runs.IUN}
BCE: dict[str, Values] = {"bce": {"train_teacher.loss": "bce"}}


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: of the method.
        description: in a few words.
        student: whether a student is trained; else the teacher is measured.
        ensemble: whether the mean score of all teachers is measured, and not the first one's.
        settings_of: "teacher" or "student", whose training settings are used.
        changes: of the params, applied last.
        taus: the taus that val chooses from; empty: the tau of the params.
        plain: whether all options of rule, student and scores are off before the changes.
        losses: changes by name that take the place of the losses; empty: the losses.
        steps: the number of training steps of the teacher, as a multiple.
        val: the use of the val images: val "chooses", or they are training images, too, "added"
            to the others or "alone". The last two train with val's complete labels. Their val mAP
            is of images that they learned from, so the last epoch is kept.
    """

    name: str
    description: str
    student: bool = True
    ensemble: bool = False
    settings_of: str = "teacher"
    changes: Values = field(default_factory=dict)
    taus: tuple[float, ...] = ()
    plain: bool = True
    losses: dict[str, Values] = field(default_factory=dict)
    steps: float = 1.0
    val: Literal["chooses", "added", "alone"] = "chooses"

    def params(self, values: Values) -> Values:
        """Return the params of this method, made from those of the file."""
        made = runs.changed(values, PLAIN if self.plain else {})
        if self.plain:
            settings = values[f"train_{self.settings_of}"]["train"]
            made["train_student" if self.student else "train_teacher"]["train"] = settings
        if self.val != "chooses":
            made = runs.changed(made, {"train_teacher.train.fit.keep": "last"})
        return with_steps(runs.changed(made, self.changes), self.steps)


# The rows without a student that a student should be compared with.
SINGLE_STAGE = ("teacher", "long", "ensemble", "val added", "val alone")


def with_steps(values: Values, steps: float) -> Values:
    """Return params whose teacher trains that many times as many epochs, at least one."""
    teacher = by_training(values)["train_teacher"]
    epochs = {
        f"train_teacher.train.{phase}.epochs": max(1, round(steps * teacher[phase]["epochs"]))
        for phase in PHASES[teacher["mode"]]
    }
    return values if steps == 1 else runs.changed(values, epochs)


PLAIN: Values = {
    "train_teacher.members": 1,
    "train_teacher.folds": 1,
    "score.flip": False,
    "pseudo_label.rule": "tau",
    "pseudo_label.tau": 0.5,
    "pseudo_label.calibrate": "none",
    "pseudo_label.annotator": "ignored",
    "pseudo_label.weights": "none",
    "pseudo_label.keep_observed": True,
    "train_student.generations": 1,
    "train_student.prior_weight": 0.0,
}
PRIOR: Values = {"pseudo_label.calibrate": "prior", "pseudo_label.prior": "val"}
# As many positives as .75 of the prior; the entries after 1.35 of it are negative.
BAND: Values = {"pseudo_label.rule": "band", "pseudo_label.tau": 0.625, "pseudo_label.width": 0.3}
ISOTONIC: Values = {"pseudo_label.calibrate": "isotonic", "pseudo_label.annotator": "uniform"}
SOFT = ISOTONIC | {"pseudo_label.rule": "soft"}

METHODS = {
    method.name: method
    for method in (
        Method("oracle", "all labels, or all negatives, known", student=False, losses=ORACLES),
        Method("teacher", "the loss alone", student=False),
        Method(
            "long", "the loss alone, for the steps of teacher and student together",
            student=False, steps=2.0,
        ),
        Method(
            "ensemble", "the mean score of two teachers, which takes as many steps",
            student=False, ensemble=True, changes={"train_teacher.members": 2},
        ),
        Method(
            "val added", "the loss, with the val images and their complete labels added to train",
            student=False, val="added",
        ),
        Method(
            "val alone", "BCE on the val images and their complete labels alone, as many steps",
            student=False, val="alone", losses=BCE,
        ),
        Method("shipped", "the unchanged params file", plain=False),
        Method(
            "oracle control", "the oracles with the student's settings",
            student=False, settings_of="student", losses=ORACLES,
        ),
        Method(
            "control", "the loss with the student's settings",
            student=False, settings_of="student",
        ),
        Method(
            "paper", "one tau of the paper's range, observed labels not kept",
            changes={"pseudo_label.keep_observed": False}, taus=PAPER_TAUS,
        ),
        Method("tau", "one tau, chosen by val, observed labels kept", taus=TAUS),
        Method("prior", "as many positives as the class priors of val", changes=PRIOR),
        Method("band", "the same, with an ignored band at the threshold", changes=PRIOR | BAND),
        Method(
            "band_of_observed", "the same, with class priors from the observed labels (best bin)",
            changes=PRIOR | BAND | {"pseudo_label.prior": "best_bin"},
        ),
        Method(
            "isotonic", "isotonic score above one half, uniform annotator", changes=ISOTONIC
        ),
        Method("soft", "the same, as soft targets", changes=SOFT),
        Method(
            "soft - annotator", "without the effect of unnamed classes",
            changes=SOFT | {"pseudo_label.annotator": "ignored"},
        ),
        Method(
            "soft + generations", "three generations",
            changes=SOFT | {"train_student.generations": 3},
        ),
        Method(
            "soft + averaging", "mean score of three teachers",
            changes=SOFT | {"train_teacher.members": 3},
        ),
        Method("soft + folds", "cross-fitting", changes=SOFT | {"train_teacher.folds": 5}),
        Method(
            "soft + ema", "EMA of the weights", changes=SOFT | {"train_student.train.fit.ema": 0.99}
        ),
        Method(
            "soft + augmentation", "cutout and zoom",
            changes=SOFT | {
                "train_student.train.augment.cutout": 0.25,
                "train_student.train.augment.zoom": 0.15,
            },
        ),
    )
}  # fmt: skip
