"""Write the presets: params.yaml with the values of a benchmark and a recipe in it.

    python -m presets.make

The values below are YAML, as they stand in the file. Those of model, fit and augment are of
teacher and student alike.
"""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "presets"
Values = dict[str, str]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its name, its size, what `prepare` is to read, its own values by recipe."""

    title: str
    size: str
    expected_positives: str
    prepare: Values
    own: dict[str, Values]


@dataclass(frozen=True)
class Recipe:
    """A recipe: its paper, its loss, values for every benchmark, and where they come from.

    Keys that begin with a point are settings of the loss.
    """

    title: str
    paper: str
    loss: str
    tau: str
    sources: tuple[str, ...]
    values: Values = field(default_factory=dict)
    not_established: tuple[str, ...] = ()


COMMON: Values = {
    "prepare.seed": "1200", "prepare.val_fraction": "0.2", "prepare.val_labels": "clean",
    "model.backbone": "resnet50", "model.weights": "IMAGENET1K_V1", "model.input_size": "448",
    "model.freeze_batch_norm": "false", "fit.epochs": "10", "fit.optimizer": "adam",
    "fit.head_lr_multiplier": "1.0", "fit.weight_decay": "0.0", "fit.schedule": "constant",
    "fit.early_stop_drop": "null", "augment.flip": "0.5", "augment.shift": "0.0",
    "augment.zoom": "0.0", "score.batch_size": "64", "evaluate.batch_size": "64",
    "pseudo_label.keep_observed": "true",
}  # fmt: skip
AS_COLE = (
    "Authors' code: 10 epochs, Adam, no early stop, the best epoch by clean val labels. It "
    "searches the learning rate over 1e-2, 1e-3, 1e-4, 1e-5 and the batch size over 8, 16 by val "
    "mAP. The pair written here (Zhou et al. 2022's) is a start for that search, not its result."
)
AS_ZHOU = "batch size, lr, epochs, and the stop at the first epoch whose val mAP does not improve"
ZHOUS_SEEDS = "Authors' code: seeds 0, 1 and 8. The one written is 0; set the others in turn."
PAPERS = {
    "cole": "Cole et al. 2021, Multi-Label Learning from Single Positive Labels",
    "zhou": "Zhou et al. 2022, Acknowledging the Unknown for Multi-label Learning with Single "
    "Positive Labels",
    "chen": "Chen et al. 2024, Boosting Single Positive Multi-label Classification with "
    "Generalized Robust Loss",
    "kim": "Kim et al. 2022, Large Loss Matters in Weakly Supervised Multi-Label Classification",
    "kim2023": "Kim et al. 2023, Bridging the Gap between Model Explanations in Partially "
    "Annotated Multi-label Classification",
}
NO_SEED = "the seeds of the published runs; 0 is written"
LARGE_LOSS: Values = {"fit.batch_size": "16", "fit.head_lr_multiplier": "10.0"}

RECIPES: dict[str, Recipe] = {
    "an": Recipe("AN", PAPERS["cole"], "an", "0.5", (AS_COLE,), {}, (NO_SEED,)),
    "em": Recipe(
        "EM", PAPERS["zhou"], "em", "0.75",
        (f"Authors' code: alpha, {AS_ZHOU}.", ZHOUS_SEEDS), {"fit.early_stop_drop": "0.0"},
    ),
    "em_apl": Recipe(
        "EM + APL", PAPERS["zhou"], "em_apl", "0.75",
        (f"Authors' code: alpha, beta, theta, warmup_epochs, {AS_ZHOU}.", ZHOUS_SEEDS),
        {"fit.early_stop_drop": "0.0", ".theta": "0.9"},
    ),
    "gr": Recipe(
        "GR", PAPERS["chen"], "gr", "0.5",
        ("Authors' code: lr, the head's multiplier, mu, sigma, and the stop more than 2 points of "
         "val mAP below the best.",),
        {"fit.lr": "1e-5", "fit.head_lr_multiplier": "10.0", "fit.early_stop_drop": "2.0",
         ".mu": "[0.5, 0.8]", ".sigma": "[2.0, 0.5]", ".q2": "0.01"},
        ("the seed; the authors' code sets none",),
    ),
    "role_li": Recipe(
        "ROLE + LinearInit", PAPERS["cole"], "role", "0.5",
        (AS_COLE, "Authors' code: the linear phase (25 epochs), expected_positives, and "
         "lr_multiplier. linear.lr and linear.batch_size are a start for the search, too."),
        {"train_teacher.mode": "linear_init", "train_teacher.linear.epochs": "25",
         "train_teacher.linear.batch_size": "16", "train_teacher.linear.lr": "1e-3",
         ".lr_multiplier": "10.0"},
        (NO_SEED,),
    ),
    "ll_r": Recipe(
        "LL-R", PAPERS["kim"], "ll_r", "0.5",
        ("Authors' code: batch size, epochs, the head's multiplier, and the stop more than 3 "
         "points of val mAP below the best.",
         "Stated by the authors for this benchmark: delta, optimizer, lr."),
        LARGE_LOSS | {"fit.early_stop_drop": "3.0"}, (NO_SEED,),
    ),
    "ll_r_boostlu": Recipe(
        "LL-R + BoostLU", PAPERS["kim2023"], "ll_r", "0.5",
        ("Authors' code, the same for every benchmark: delta 0.5, Adam, lr 1e-5, batch size 16, "
         "10 epochs, the head's multiplier, boost_lu 5, no early stop.",),
        LARGE_LOSS | {"fit.lr": "1e-5", "model.boost_lu": "5.0", ".delta": "0.5"},
        ("whether the published runs used this one lr for every benchmark", NO_SEED),
    ),
}  # fmt: skip

SMALL: Values = {"fit.batch_size": "8", "fit.lr": "1e-5"}
LARGE: Values = {"fit.batch_size": "16", "fit.lr": "1e-5"}
CUBS: Values = {"fit.batch_size": "8", "fit.lr": "1e-4"}
# How AEVLP (ICCV 2025) set GR in its comparison.
AEVLP: Values = {".w": "[0.0, 10.0]", ".b": "[-2.0, -8.0]", ".q3": "1.0"}

BENCHMARKS: dict[str, Benchmark] = {
    "voc2012": Benchmark(
        "PASCAL VOC 2012", "4,574 train, 1,143 val, 5,823 test pictures; 20 classes", "1.5",
        {"prepare.source": "voc2012"},
        {"an": SMALL, "role_li": SMALL, "em": SMALL | {".alpha": "0.2"},
         "em_apl": SMALL | {".alpha": "0.2", ".beta": "0.02", ".warmup_epochs": "5"},
         "gr": {"fit.epochs": "8", "fit.batch_size": "8",
                ".w": "[0.0, 2.0]", ".b": "[-2.0, -2.0]", ".q3": "1.0"},
         "ll_r": {".delta": "0.2", "fit.optimizer": "sgd", "fit.lr": "5e-3",
                  "fit.momentum": "0.9", "fit.weight_decay": "1e-3"}},
    ),
    "coco2014": Benchmark(
        "MS-COCO 2014", "65,665 train, 16,416 val, 40,137 test pictures; 80 classes", "2.9",
        {"prepare.source": "table", "prepare.table.file": "coco2014.csv"},
        {"an": LARGE, "role_li": LARGE, "em": LARGE | {".alpha": "0.1"},
         "em_apl": LARGE | {".alpha": "0.1", ".beta": "0.9", ".warmup_epochs": "5"},
         "gr": AEVLP | {"fit.epochs": "8", "fit.batch_size": "16"},
         "ll_r": {".delta": "0.4", "fit.lr": "1e-5"}},
    ),
    "nuswide": Benchmark(
        "NUS-WIDE", "120,000 train, 30,000 val, 60,260 test pictures; 81 classes", "1.9",
        {"prepare.source": "table", "prepare.table.file": "nuswide.csv"},
        {"an": LARGE, "role_li": LARGE, "em": LARGE | {".alpha": "0.1"},
         "em_apl": LARGE | {".alpha": "0.1", ".beta": "0.2", ".warmup_epochs": "4"},
         "gr": AEVLP | {"fit.epochs": "10", "fit.batch_size": "16"},
         "ll_r": {".delta": "0.4", "fit.lr": "1e-5"}},
    ),
    "cub": Benchmark(
        "CUB-200-2011 attributes", "4,795 train, 1,199 val, 5,794 test pictures; 312 classes",
        "31.4", {"prepare.source": "table", "prepare.table.file": "cub.csv"},
        {"an": CUBS, "role_li": CUBS, "em": CUBS | {".alpha": "0.01"},
         "em_apl": CUBS | {".alpha": "0.01", ".beta": "0.4", ".warmup_epochs": "3"},
         "gr": AEVLP | {"fit.epochs": "10", "fit.batch_size": "8", ".q3": "1.5"},
         "ll_r": {".delta": "0.4", "fit.lr": "7.5e-5"}},
    ),
}  # fmt: skip

# Where the template's comment is about more than one loss.
COMMENTS = {
    "train_teacher.loss": "docs/losses.md has them all",
    "train_teacher.losses": "settings of the loss; those of the others are in params.yaml",
    ".expected_positives": "k, positives of a picture on average; null: of the val labels",
    ".delta": "percent of a batch's entries that are rejected, more by as many each epoch",
}
COMMENT_COLUMN = 28


def main(folder: Path = FOLDER) -> None:
    """Write every preset into a folder."""
    for name, benchmark in BENCHMARKS.items():
        for recipe in RECIPES:
            _write(folder / f"{name}_{recipe}.yaml", name, benchmark, recipe)


def _write(path: Path, name: str, benchmark: Benchmark, recipe_name: str) -> None:
    recipe = RECIPES[recipe_name]
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    losses = params["train_teacher"]["losses"]
    for other in [other for other in losses if other != recipe.loss]:
        del losses[other]
    values = COMMON | benchmark.prepare | recipe.values | benchmark.own.get(recipe_name, {})
    values |= {"train_teacher.loss": recipe.loss, "pseudo_label.tau": recipe.tau}
    if recipe.loss == "role":
        values[".expected_positives"] = benchmark.expected_positives
    for key, value in values.items():
        for section, last in _places(params, key, recipe.loss):
            assert last in section, f"{key}: params.yaml has no such key"
            section[last] = YAML().load(value)
    for key, comment in COMMENTS.items():
        for section, last in _places(params, key, recipe.loss):
            if last in section:
                section.yaml_add_eol_comment(comment, last, COMMENT_COLUMN)
    params.yaml_set_start_comment(_header(name, benchmark, recipe_name))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yaml.dump(params, file)
