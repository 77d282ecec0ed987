"""A run as one object: the paths of its files, and checked readers for its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import tables
from pipeline.artifacts.tables import SPLITS, Index, PseudoLabels, Scores, Truth
from pipeline.core.arrays import BoolMatrix

# The role that a model was trained for.
Role = Literal["teacher", "student"]

# The evaluated model file: the teacher, or the last student.
MODEL = "model.safetensors"
GENERATION = "generation-{}"
# Lies in the teacher's folders if no teacher was trained, since the scores come from outside.
NO_TEACHER = "no_teacher.json"


def generation(number: int) -> str:
    """Return the name of the files and curves of a generation of students; the first is 1.

    The last generation's model and curves have the plain names instead. The first generation
    has no table of its own, since it learns from pseudo_labels.parquet.
    """
    return GENERATION.format(number)


@dataclass(frozen=True)
class Student:
    """One of the generations of students.

    Attributes:
        model: its model file.
        curves: the folder of its curves.
        pseudo: the pseudo-labels that it learned from.
    """

    model: Path
    curves: Path
    pseudo: PseudoLabels


@dataclass(frozen=True)
class RunTables:
    """The tables of a run that belong together.

    Attributes:
        index: the index.
        scores: the teacher's scores of the train images.
        pseudo: the pseudo-labels of the same images.
        truth: the complete labels; None if they are missing.
        val_scores: the teacher's scores of the val images; None if they are not needed or missing.
    """

    index: Index
    scores: Scores
    pseudo: PseudoLabels
    truth: Truth | None
    val_scores: Scores | None = None

    def known_truth(self) -> tuple[BoolMatrix, npt.NDArray[np.bool_]]:
        """Return the complete labels of the train images as far as they are known.

        Returns:
            (N_train, C) labels, False for unknown images; (N_train,) whether an image's labels
            are known.
        """
        if self.truth is not None:
            return self.truth.known_of(self.index, "train")
        return np.zeros_like(self.pseudo.labels), np.zeros(len(self.pseudo.labels), np.bool_)


@dataclass(frozen=True)
class Run:
    """The two folders of a run, by default those of the working folder.

    Readers check each table: it must have the classes and the images of the index, in their
    order, and the recorded digests of its sources must match.

    Attributes:
        data: tables and models that stages exchange.
        reports: reports for people.
    """

    data: Path = Path("data")
    reports: Path = Path("reports")

    @classmethod
    def at(cls, folder: Path) -> "Run":
        """Return the run in a folder."""
        return cls(folder / "data", folder / "reports")

    @property
    def index(self) -> Path:
        """The images, their splits and observed labels."""
        return self.data / "index.parquet"

    @property
    def truth(self) -> Path:
        """The complete labels."""
        return self.data / "truth.parquet"

    @property
    def images(self) -> Path:
        """The images that have no file."""
        return self.data / tables.IMAGES_FILE

    @property
    def pseudo_labels(self) -> Path:
        """The student's labels."""
        return self.data / "pseudo_labels.parquet"

    @property
    def teacher(self) -> Path:
        """The folder of the teachers' model files."""
        return self.data / "teacher"

    @property
    def student(self) -> Path:
        """The folder of the students' model files."""
        return self.data / "student"

    @property
    def teacher_model(self) -> Path:
        """The evaluated teacher."""
        return self.teacher / MODEL

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher was trained; else the scores come from outside."""
        return not (self.teacher / NO_TEACHER).exists()

    @property
    def student_model(self) -> Path:
        """The evaluated student, the last of its generations."""
        return self.student / MODEL

    @property
    def evaluation(self) -> Path:
        """The folder of the evaluation report."""
        return self.reports / "evaluate"

    def scores(self, split: str = "train") -> Path:
        """Return the path of the teacher's scores of "train" or "val".

        Those of "test" are the scores from outside, if they took the place of a teacher.
        """
        return self.data / ("scores.parquet" if split == "train" else f"{split}_scores.parquet")

    def curves(self, role: str) -> Path:
        """Return the folder of the curves of the "teacher" or the "student"."""
        return self.reports / f"train_{role}"

    def live(self, role: str) -> Path:
        """Return the folder of the curves of the "teacher" or the "student" while it trains."""
        return self.reports / f"live_{role}"

    def read_index(self, needed: tuple[str, ...] = SPLITS) -> Index:
        """Read the index.

        Raises:
            InputError: as of `tables.read_index`.
        """
        return tables.read_index(self.index, needed)

    def read_truth(self, index: Index) -> Truth:
        """Read the complete labels.

        Raises:
            InputError: they cannot be read, have other classes or were made with another index.
        """
        truth = tables.read_truth(self.truth, index.classes)
        tables.check_made_from(self.truth, truth.about, index=index.digest())
        return truth

    def read_scores(self, index: Index, split: str = "train", **made_from: str) -> Scores:
        """Read the teacher's scores of a split.

        Args:
            index: the index.
            split: "train", "val" or "test", which may have no row.
            made_from: digests of other sources: teacher.

        Raises:
            InputError: they cannot be read, have other classes or images, or were made from
                other sources.
        """
        path = self.scores(split)
        scores = tables.read_scores(path, index.classes)
        if split == "test" and not scores.image_ids:
            return scores
        tables.check_same_images(path, scores.image_ids, index.ids(index.rows(split)))
        tables.check_made_from(path, scores.about, index=index.digest(), **made_from)
        return scores

    def read_pseudo_labels(
        self, index: Index, path: Path | None = None, **made_from: str
    ) -> PseudoLabels:
        """Read the pseudo-labels of the train images.

        Args:
            index: the index.
            path: another file than the run's.
            made_from: digests of other sources: scores.

        Raises:
            InputError: as of `read_scores`.
        """
        path = path or self.pseudo_labels
        pseudo = tables.read_pseudo_labels(path, index.classes)
        tables.check_same_images(path, pseudo.image_ids, index.ids(index.rows("train")))
        tables.check_made_from(path, pseudo.about, index=index.digest(), **made_from)
        return pseudo

    def students(self, index: Index, pseudo: PseudoLabels) -> list[Student]:
        """Return the generations of students; the last one is the evaluated student.

        Args:
            index: the index.
            pseudo: the pseudo-labels that the first generation learned from.

        Raises:
            InputError: a later generation's labels cannot be read, as of `read_pseudo_labels`.
        """
        n_before = len(list(self.student.glob(f"{GENERATION.format('*')}.safetensors")))
        curves, before = self.curves("student"), range(1, n_before + 1)
        models = [self.student / f"{generation(number)}.safetensors" for number in before]
        later = [self.student / f"{generation(number + 1)}.parquet" for number in before]
        labels = [pseudo, *(self.read_pseudo_labels(index, path) for path in later)]
        folders = [curves / generation(number) for number in before]
        parts = zip([*models, self.student_model], [*folders, curves], labels, strict=True)
        return [Student(*fields) for fields in parts]

    def origin(
        self, path: Path, index: Index, students: list[Student]
    ) -> tuple[Role | None, dict[str, str]]:
        """Return the role and the sources that a model file should have, by its path.

        Args:
            path: of the file.
            index: the index.
            students: the generations.

        Returns:
            Its role, and digests by name as for `tables.made_from`; None and no digests if the
            file is no model of the run.
        """
        place = path.resolve()
        for student in students:
            if place == student.model.resolve():
                return "student", {"pseudo_labels": student.pseudo.digest()}
        if place.parent == self.teacher.resolve():
            return "teacher", {"index": index.digest()}
        return None, {}
