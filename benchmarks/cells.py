"""The cells of benchmarks.compare: a loss, a method and a run, each trained once and kept."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmarks.methods import Method, with_steps
from experiments import runs
from experiments.runs import Values
from experiments.sweep import STUDENT
from pipeline.artifacts.run import Run
from pipeline.core.errors import InputError

TAU = "pseudo_label.tau"
PREPARE = {"chooses": "prepare", "added": "prepare_val_added", "alone": "prepare_val_alone"}

# Values of params, chosen from candidates, as (key, value).
Chosen = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Cell:
    """A loss, a method, a run, and chosen values of params."""

    loss: str
    method: Method
    run: int
    chosen: Chosen = ()

    def __str__(self) -> str:
        values = "".join(f", {key.rpartition('.')[2]} {value:g}" for key, value in self.chosen)
        return f"{self.loss}, {self.method.name}{values}, run {self.run}"

    def params(self, base: Values) -> Values:
        """Return the params of the cell, made from those of the file."""
        changes = {
            "prepare.observe.seed": self.run,
            # Members and generations take the next seeds.
            "train_teacher.seed": 100 * self.run,
            "train_student.seed": 100 * self.run,
        }
        # The method may copy or multiply chosen values, but it sets a tau of its own.
        chosen = dict(self.chosen)
        tau = {TAU: chosen.pop(TAU)} if TAU in chosen else {}
        values = self.method.params(runs.changed(base, changes | chosen))
        loss = self.method.losses.get(self.loss, {"train_teacher.loss": self.loss})
        return runs.changed(values, loss | tau)


@dataclass(frozen=True)
class Cells:
    """Runs cells, or reads the kept ones.

    Attributes:
        out: the folder of the kept runs.
        base: the params of the file.
        jobs: the number of cells at a time, which share the cores.
        kept: whether to run nothing.
        failed: a line for each failed cell.
    """

    out: Path
    base: Values
    jobs: int
    kept: bool = False
    failed: list[str] = field(default_factory=list)

    def run(self, cells: Sequence[Cell]) -> list[tuple[Cell, list[Values]]]:
        """Run the cells; return those that succeeded, or with `kept` are kept, with their rows."""
        ran = []
        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = [pool.submit(self._rows_of, cell) for cell in cells]
            for cell, future in zip(cells, tqdm(futures, disable=None, leave=False), strict=True):
                try:
                    found = future.result()
                except runs.NotKeptError:
                    continue
                except InputError as error:
                    self.failed.append(f"{cell}: {error}")
                    continue
                ran.append((cell, found))
                if not self.kept:
                    last = found[-1]
                    tqdm.write(f"{cell}: val {last['val_mAP']:.2f}, test {last['test_mAP']:.2f}")
        finally:  # if stopped: start no further cell
            pool.shutdown(cancel_futures=True)
        return ran

    def _rows_of(self, cell: Cell) -> list[Values]:
        """Run a cell, or read the kept one; return a row per generation of students."""
        method, values = cell.method, cell.params(self.base)
        about = {
            "loss": cell.loss, "method": method.name, "run": cell.run,
            "tau": dict(cell.chosen).get(TAU), "tuned": _text(cell.chosen),
        }  # fmt: skip
        prepared = self._stages(values, [PREPARE[method.val]])
        if method.val == "alone":
            values = with_steps(values, self._steps_of_train(values, prepared))
        teacher = self._stages(values, ["train_teacher"], prepared)
        if not method.student:
            stage = "measure_ensemble" if method.ensemble else "measure_teacher"
            measured = self._stages(values, [stage], teacher, prepared)
            tested = {"test_scores": runs.test_scores(measured), "prepared": prepared}
            return [about | {"generation": None} | runs.measured(measured) | tested]
        scored = self._stages(values, ["score"], teacher, prepared)
        folder = self._stages(values, STUDENT, scored, teacher, prepared)
        rows = [about | row for row in runs.generation_metrics(folder)]
        rows[-1] |= self._of_student(values, folder, prepared)
        return rows

    def _steps_of_train(self, values: Values, prepared: Path) -> float:
        """Return how many times as many steps an epoch of the usual training images has."""
        usual = Run.at(self._stages(values, [PREPARE["chooses"]])).read_index()
        alone = Run.at(prepared).read_index()
        return len(usual.rows("train")) / len(alone.rows("train"))

    def _of_student(self, values: Values, trained: Path, prepared: Path) -> Values:
        """Return the student's test scores, and the folder of the test labels."""
        try:
            measured = self._stages(values, ["measure_student"], trained, prepared)
        except runs.NotKeptError:  # the comparison was stopped before it
            return {}
        return {"test_scores": runs.test_scores(measured), "prepared": prepared}

    def _stages(self, values: Values, names: list[str], *before: Path) -> Path:
        return runs.stages(
            self.out, values, names, *before, threads=runs.threads_of(self.jobs), kept=self.kept
        )


def _text(chosen: Chosen) -> str:
    return " ".join(f"{key}={value:g}" for key, value in chosen if key != TAU)
