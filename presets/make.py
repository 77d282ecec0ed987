"""Write the presets: params.yaml with the values of a benchmark and a recipe in it.

    python -m presets.make

The values are those of presets/recipes.py; the comment on each knob is that of params.yaml.
"""

import io
import textwrap
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from presets.recipes import (
    BENCHMARKS,
    COMMON,
    PAPER_RULE,
    PAPER_RULE_HEAD,
    RECIPES,
    Benchmark,
)

ROOT = Path(__file__).parent.parent

# The template's comments on these speak of losses that are left out here.
COMMENTS = {
    "train_teacher.loss": "docs/losses.md has them all",
    "train_teacher.losses": "settings of the loss; those of the others are in params.yaml",
    "em_apl.alpha": "weight of the entropy; the paper's: VOC 0.2, COCO 0.1, NUS 0.1, CUB 0.01",
    "role.expected_positives": "k, positives of a picture on average; null: of the val labels",
    "ll_r.delta": "percent of a batch's entries that are rejected, more by as many each epoch",
}


def main(folder: Path = ROOT / "presets") -> None:
    """Write every preset into a folder."""
    for name in BENCHMARKS:
        for recipe in RECIPES:
            text = preset(name, recipe)
            (folder / f"{name}_{recipe}.yaml").write_text(text, encoding="utf-8", newline="\n")
    (folder / "digits_paper.yaml").write_text(paper_rule(), encoding="utf-8", newline="\n")


def preset(benchmark_name: str, recipe_name: str) -> str:
    """Return the text of a preset of a benchmark."""
    benchmark, recipe = BENCHMARKS[benchmark_name], RECIPES[recipe_name]
    values = COMMON | benchmark.prepare | recipe.values | benchmark.own.get(recipe_name, {})
    values |= {"train_teacher.loss": recipe.loss, "pseudo_label.tau": recipe.tau}
    return _filled(recipe.loss, values, _head(benchmark, recipe_name))


def paper_rule() -> str:
    """Return the text of params.yaml with the exact rule of the Tiny Paper."""
    return _filled("em", PAPER_RULE, PAPER_RULE_HEAD)


def _filled(loss: str, values: dict[str, str], head: tuple[str, ...]) -> str:
    """Return params.yaml with these values, settings of one loss alone and another head."""
    yaml = _yaml()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    losses = params["train_teacher"]["losses"]
    for other in [other for other in losses if other != loss]:
        del losses[other]
    if losses:
        # A comment beside the name of a loss is about several of them.
        losses.ca.items.pop(loss, None)
        losses[loss].ca.comment = None
    else:
        losses = params["train_teacher"]["losses"] = CommentedMap()
    for key, value in values.items():
        for section, last in _places(params, key, loss):
            section[last] = yaml.load(value)
    for key, comment in COMMENTS.items():
        *_, name, last = key.split(".")
        section = params[name] if name in params else losses.get(name, {})
        if last in section:
            section.yaml_add_eol_comment(comment, last, 28)
    # The template's head is about params.yaml itself.
    params.ca.comment = None
    text = io.StringIO()
    yaml.dump(params, text)
    lines = [textwrap.wrap(paragraph, 96, subsequent_indent="  ") for paragraph in head]
    comment = "".join(f"# {line}\n" for paragraph in lines for line in paragraph)
    return comment + "\n" + text.getvalue()


def _yaml() -> YAML:
    """Return a reader and writer that keeps null, quotes and long lines as they are."""

    def null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
        return representer.represent_scalar("tag:yaml.org,2002:null", "null")

    class Representer(RoundTripRepresenter): ...

    Representer.add_representer(type(None), null)
    yaml = YAML()
    yaml.Representer, yaml.width, yaml.preserve_quotes = Representer, 4096, True
    return yaml


def _places(params: Any, key: str, loss: str) -> Iterator[tuple[Any, str]]:
    """Yield the sections that a key is meant for, and its name there."""
    *parents, last = key.split(".")
    paths = [parents]
    if parents[0] == "":
        paths = [["train_teacher", "losses", loss]]
    elif parents[0] in ("model", "fit", "augment"):
        paths = [["train_teacher", *parents], ["train_student", *parents]]
    for path in paths:
        section = reduce(getitem, path, params)
        assert last in section, f"{key}: params.yaml has no such key"
        yield section, last


def _head(benchmark: Benchmark, recipe_name: str) -> tuple[str, ...]:
    """Return the paragraphs of the comment that a preset begins with."""
    recipe = RECIPES[recipe_name]
    data = [
        f"Data: {benchmark.size}; docs/data.md says what to download. The split, prepare.seed and "
        "val_fraction are those of Cole et al.'s code, which the papers share."
    ]
    unknown = [*recipe.not_established]
    if recipe_name in benchmark.not_established:
        unknown.append(benchmark.not_established[recipe_name])
    elif recipe_name == "gr":
        data.append("Authors' code: w, b, q3, epochs, batch_size, which are its defaults.")
    tau = "as Zhou et al. advise for EM" if recipe.tau == "0.75" else "a start to sweep from"
    return (
        f"{recipe.title} on {benchmark.title}, ResNet-50 at 448 pixels. Copy it over "
        "params.yaml. Written by presets/make.py from presets/recipes.py.",
        f"Paper: {recipe.paper}.",
        *data,
        *recipe.sources,
        "As in the papers' code: ResNet-50 with torchvision's first ImageNet weights, pictures "
        "squeezed to 448 x 448, a flip by chance and nothing else, a constant learning rate, the "
        "epoch of best mAP on clean val labels.",
        f"Ours: pseudo_label.tau, {tau}; keep_observed; the batch sizes of score and evaluate, "
        "on which no result depends; the student, which has the recipe of the teacher, end to end.",
        *(f"Not established: {what}." for what in unknown),
        "Not established: the student's recipe in Arroyo 2023.",
    )


if __name__ == "__main__":
    main()
