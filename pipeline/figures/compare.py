"""Draw the figure that compares experiments: test mAP of their students and teachers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.figures.canvas import STUDENT, TEACHER, canvas, legible

MAX_ROWS = 40
MAX_LABEL = 60  # characters


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seeds.

    Attributes:
        label: the name of the row.
        students: test mAP of each run's student, in percent.
        teachers: test mAP of each run's teacher, in percent; may be empty.
        val: the mean val mAP of the students, in percent; NaN if unknown.
        preferred: whether val mAP chooses this group.
    """

    label: str
    students: list[float]
    teachers: list[float]
    val: float
    preferred: bool


def students(*paths: Path, groups: list[Group]) -> None:
    """Draw the test mAP of the students (each seed and the mean) and the mean of the teachers.

    The best group is on top. Of more than 40 groups, the 40 with the highest val mAP are drawn.

    Args:
        paths: the files to write, .png or .svg.
        groups: at least one group, each with at least one student.
    """
    by_val = sorted(groups, key=lambda group: -np.nan_to_num(group.val, nan=-1.0))
    drawn = sorted(by_val[:MAX_ROWS], key=lambda group: np.mean(group.students))
    labels = [legible(group.label, f"row {row}", MAX_LABEL) for row, group in enumerate(drawn, 1)]
    title = "test mAP of students, the best on top"
    if len(groups) > len(drawn):
        title = f"the {len(drawn)} of {len(groups)} rows with the highest val mAP"
    width = 6.5 + 0.075 * max(len(text) for text in labels)
    names = [group.label for group in drawn]
    with canvas(*paths, width=width, height=1.7 + 0.3 * len(drawn), names=names) as figure:
        axis = figure.subplots()
        places = np.arange(len(drawn))
        for place, group in zip(places, drawn, strict=True):
            seeds = [place] * len(group.students)
            axis.plot(group.students, seeds, "o", color=STUDENT, alpha=0.45, markersize=5, mew=0)
        means = np.array([np.mean(group.students) for group in drawn])
        axis.plot([], [], "o", color=STUDENT, alpha=0.45, markersize=5, mew=0, label="a student")
        axis.plot(means, places, "D", color=STUDENT, markersize=7, label="mean of students")
        teachers = np.array([np.mean(group.teachers or [np.nan]) for group in drawn])
        axis.plot(
            teachers, places, "|", color=TEACHER, markersize=15, mew=2.5, label="mean of teachers"
        )
        best = np.array([group.preferred for group in drawn])
        axis.plot(
            means[best], places[best], "s", color="black", fillstyle="none", markersize=13,
            label="chosen by val mAP",
        )  # fmt: skip
        axis.set_yticks(places, labels)
        axis.set(xlabel="test mAP (%)", title=title)
        axis.set_ylim(-0.7, len(drawn) - 0.3)
        axis.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=4)
