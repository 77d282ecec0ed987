"""The values of the presets: benchmarks and recipes.

They are YAML, as they stand in a preset. Those of model, fit and augment are of teacher and
student alike; keys that begin with a point are settings of the loss. Where both have a value,
that of the benchmark counts.
"""

from dataclasses import dataclass, field

Values = dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """A recipe: its loss and values, where these come from and what is not known of them."""

    title: str
    paper: str
    loss: str
    tau: str
    values: Values
    sources: tuple[str, ...]
    not_established: tuple[str, ...] = ("the seed of the published runs; 0 is written",)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its name and size, what `prepare` reads, and its own values by recipe."""

    title: str
    size: str
    prepare: Values
    own: dict[str, Values]
    not_established: dict[str, str] = field(default_factory=dict)


COMMON: Values = {
    "prepare.seed": "1200", "prepare.val_fraction": "0.2", "prepare.val_labels": "clean",
    "model.backbone": "resnet50", "model.weights": "IMAGENET1K_V1", "model.input_size": "448",
    "model.freeze_batch_norm": "false", "fit.epochs": "10", "fit.optimizer": "adam",
    "fit.head_lr_multiplier": "1.0", "fit.weight_decay": "0.0", "fit.schedule": "constant",
    "fit.early_stop_drop": "null", "augment.flip": "0.5", "augment.shift": "0.0",
    "augment.zoom": "0.0", "score.batch_size": "64", "evaluate.batch_size": "64",
    "pseudo_label.rule": "tau", "pseudo_label.calibrate": "none",
    "pseudo_label.annotator": "ignored", "pseudo_label.keep_observed": "true",
    "train_student.generations": "1", "sweep.taus": "[0.3, 0.4, 0.5, 0.6, 0.7]",
}  # fmt: skip
COLE = "Cole et al. 2021, Multi-Label Learning from Single Positive Labels"
ZHOU = "Zhou et al. 2022, Acknowledging the Unknown for Multi-label Learning with Single Positive"
AS_COLE = (
    "Authors' code: 10 epochs, Adam, no early stop. It searches lr over 1e-2, 1e-3, 1e-4, 1e-5 "
    "and batch_size over 8, 16 by val mAP. The pair written here (that of Zhou et al. 2022) is a "
    "start for such a search, not its result."
)
AS_ZHOU = "batch_size, lr, epochs, the stop at the first epoch whose val mAP does not improve."
SEEDS = "Authors' code: seeds 0, 1 and 8. The one written is 0; set the others in turn."
# The range of the Tiny Paper (Arroyo 2023), about the threshold that Zhou et al. advise for EM.
EM_TAUS: Values = {"sweep.taus": "[0.55, 0.65, 0.75, 0.85, 0.95]"}
LARGE_LOSS: Values = {"fit.batch_size": "16", "fit.head_lr_multiplier": "10.0"}

RECIPES: dict[str, Recipe] = {
    "an": Recipe("AN", COLE, "an", "0.5", {"sweep.taus": "[0.05, 0.1, 0.2, 0.3, 0.5]"}, (AS_COLE,)),
    "em": Recipe(
        "EM", f"{ZHOU} Labels", "em", "0.75",
        EM_TAUS | {"fit.early_stop_drop": "0.0"},
        (f"Authors' code: alpha, {AS_ZHOU}", SEEDS), (),
    ),
    "em_apl": Recipe(
        "EM + APL", f"{ZHOU} Labels", "em_apl", "0.75",
        EM_TAUS | {"fit.early_stop_drop": "0.0", ".theta": "0.9"},
        (f"Authors' code: alpha, beta, theta, warmup_epochs, {AS_ZHOU}", SEEDS), (),
    ),
    "gr": Recipe(
        "GR", "Chen et al. 2024, Boosting Single Positive Multi-label Classification with "
        "Generalized Robust Loss", "gr", "0.5",
        {"fit.lr": "1e-5", "fit.head_lr_multiplier": "10.0", "fit.early_stop_drop": "2.0",
         ".mu": "[0.5, 0.8]", ".sigma": "[2.0, 0.5]", ".q2": "0.01"},
        ("Authors' code: lr, the head's multiplier, the stop when val mAP is more than 2 points "
         "below the best; mu, sigma and q2 are its defaults.",),
        ("the seed; the authors' code sets none, 0 is written",),
    ),
    "role_li": Recipe(
        "ROLE + LinearInit", COLE, "role", "0.5",
        {"train_teacher.mode": "linear_init", "train_teacher.linear.epochs": "25",
         "train_teacher.linear.batch_size": "16", "train_teacher.linear.lr": "1e-3",
         ".lr_multiplier": "10.0"},
        (AS_COLE, "Authors' code: expected_positives, lr_multiplier, the linear phase of 25 "
         "epochs. linear.lr and linear.batch_size are a start for the search, too."),
    ),
    "ll_r": Recipe(
        "LL-R", "Kim et al. 2022, Large Loss Matters in Weakly Supervised Multi-Label "
        "Classification", "ll_r", "0.5", LARGE_LOSS | {"fit.early_stop_drop": "3.0"},
        ("Authors' code: batch_size, epochs, the head's multiplier, the stop when val mAP is more "
         "than 3 points below the best.",
         "Stated by the authors for this benchmark: delta, optimizer, lr."),
    ),
    "ll_r_boostlu": Recipe(
        "LL-R + BoostLU", "Kim et al. 2023, Bridging the Gap between Model Explanations in "
        "Partially Annotated Multi-label Classification", "ll_r", "0.5",
        LARGE_LOSS | {"fit.lr": "1e-5", "model.boost_lu": "5.0", ".delta": "0.5"},
        ("Authors' code, one recipe for every benchmark: delta, Adam, lr, batch_size, epochs, the "
         "head's multiplier, boost_lu, no early stop.",),
        ("whether the published runs had this lr on every benchmark",
         "the seed of the published runs; 0 is written"),
    ),
}  # fmt: skip

AT_8: Values = {"fit.batch_size": "8", "fit.lr": "1e-5"}
AT_16: Values = {"fit.batch_size": "16", "fit.lr": "1e-5"}
CUBS: Values = {"fit.batch_size": "8", "fit.lr": "1e-4"}
AEVLP: Values = {".w": "[0.0, 10.0]", ".b": "[-2.0, -8.0]", ".q3": "1.0"}
NOT_CHENS = {
    "gr": "Chen et al.'s own w, b, mu, sigma, q2, q3 for this benchmark; w, b and q3, and on "
    "NUS-WIDE and CUB the 10 epochs, are those with which AEVLP (ICCV 2025) ran GR; batch_size is "
    "as in field practice; the rest are the code's defaults"
}

BENCHMARKS: dict[str, Benchmark] = {
    "voc2012": Benchmark(
        "PASCAL VOC 2012", "4,574 train, 1,143 val and 5,823 test pictures, 20 classes",
        {"prepare.source": "voc2012"},
        {"an": AT_8, "role_li": AT_8 | {".expected_positives": "1.5"},
         "em": AT_8 | {".alpha": "0.2"},
         "em_apl": AT_8 | {".alpha": "0.2", ".beta": "0.02", ".warmup_epochs": "5"},
         "gr": {"fit.epochs": "8", "fit.batch_size": "8",
                ".w": "[0.0, 2.0]", ".b": "[-2.0, -2.0]", ".q3": "1.0"},
         "ll_r": {".delta": "0.2", "fit.optimizer": "sgd", "fit.lr": "5e-3",
                  "fit.momentum": "0.9", "fit.weight_decay": "1e-3"}},
    ),
    "coco2014": Benchmark(
        "MS-COCO 2014", "65,665 train, 16,416 val and 40,137 test pictures, 80 classes",
        {"prepare.source": "coco2014"},
        {"an": AT_16, "role_li": AT_16 | {".expected_positives": "2.9"},
         "em": AT_16 | {".alpha": "0.1"},
         "em_apl": AT_16 | {".alpha": "0.1", ".beta": "0.9", ".warmup_epochs": "5"},
         "gr": AEVLP | {"fit.epochs": "8", "fit.batch_size": "16"},
         "ll_r": {".delta": "0.4", "fit.lr": "1e-5"}}, NOT_CHENS,
    ),
    "nuswide": Benchmark(
        "NUS-WIDE", "120,000 train, 30,000 val and 60,260 test pictures, 81 classes",
        {"prepare.source": "nuswide"},
        {"an": AT_16, "role_li": AT_16 | {".expected_positives": "1.9"},
         "em": AT_16 | {".alpha": "0.1"},
         "em_apl": AT_16 | {".alpha": "0.1", ".beta": "0.2", ".warmup_epochs": "4"},
         "gr": AEVLP | {"fit.epochs": "10", "fit.batch_size": "16"},
         "ll_r": {".delta": "0.4", "fit.lr": "1e-5"}}, NOT_CHENS,
    ),
    "cub": Benchmark(
        "CUB-200-2011 attributes", "4,795 train, 1,199 val and 5,794 test pictures, 312 classes",
        {"prepare.source": "cub"},
        {"an": CUBS, "role_li": CUBS | {".expected_positives": "31.4"},
         "em": CUBS | {".alpha": "0.01"},
         "em_apl": CUBS | {".alpha": "0.01", ".beta": "0.4", ".warmup_epochs": "3"},
         "gr": AEVLP | {"fit.epochs": "10", "fit.batch_size": "8", ".q3": "1.5"},
         "ll_r": {".delta": "0.4", "fit.lr": "7.5e-5"}}, NOT_CHENS,
    ),
}  # fmt: skip

# The digits with the rule of the Tiny Paper, for comparison with the one that is shipped.
PAPER_RULE: Values = {
    "train_teacher.loss": "em", "pseudo_label.rule": "tau", "pseudo_label.tau": "0.75",
    "pseudo_label.calibrate": "none", "pseudo_label.annotator": "ignored",
    "pseudo_label.weights": "none", "pseudo_label.keep_observed": "false",
    "train_student.generations": "1", "train_student.prior_weight": "0.0",
} | EM_TAUS  # fmt: skip
PAPER_RULE_HEAD = (
    "The digits with the exact rule of the Tiny Paper: an EM teacher, one tau for all classes, "
    "observed labels not kept, one student. Copy it over params.yaml. Written by presets/make.py.",
    "Paper: Arroyo 2023, Pseudo Labels for Single Positive Multi-Label Learning.",
    "tau: 0.75, as Zhou et al. advise for EM, the middle of the paper's five values, which "
    "`make sweep` tries. The data and the recipe of both trainings are those of params.yaml.",
)
