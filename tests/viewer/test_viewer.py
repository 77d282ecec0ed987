"""The page of labels: its data, its parts and its errors."""

import base64
import hashlib
import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Scores
from pipeline.core.errors import InputError
from pipeline.figures import canvas
from pipeline.viewer import page
from pipeline.viewer.data import evenly_spaced
from tests.builders.label_page import (
    HOSTILE,
    N_TRAIN,
    change_rule,
    encoded,
    make_data,
    run,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPML_DATA_ROOT", raising=False)
    return tmp_path


def data_in(html: str) -> dict[str, Any]:
    """Parse the page's block of data, as a browser does."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    data: dict[str, Any] = json.loads(block)
    return data


def matrix(text: str, *shape: int) -> np.ndarray:
    packed = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(packed, bitorder="little", count=int(np.prod(shape))).reshape(shape)


def bits_of(text: str, *shape: int) -> np.ndarray:
    return matrix(text, *shape) if text else np.zeros(shape, np.bool_)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- data ------------------------------------------------------------------------------


def test_the_page_has_exactly_the_data_of_the_files(here: Path) -> None:
    make_data(here, negatives=True, n_known=30)
    output = run().output
    assert output.splitlines()[-1] == "labels of 40 images: reports/labels/index.html"
    data = data_in((here / "reports/labels/index.html").read_text())
    index = tables.read_index(here / "data/index.parquet")
    pseudo = tables.read_pseudo_labels(here / "data/pseudo_labels.parquet")
    truth = tables.read_truth(here / "data/truth.parquet")
    probs = tables.read_scores(here / "data/scores.parquet").probs
    targets = index.targets[index.rows("train")]

    assert data["file"] == "pseudo_labels.parquet"
    assert data["rule"] == {"name": "tau", "settings": {"tau": "0.4", "keep_observed": "true"}}
    assert (data["tau"], data["keep_observed"], data["agrees"]) == (0.4, True, True)
    assert data["n_train"] == N_TRAIN
    assert data["image_ids"] == pseudo.image_ids
    values = struct.unpack(f"<{probs.size}f", base64.b64decode(data["scores"]))
    assert np.array_equal(np.array(values, np.float32).reshape(probs.shape), probs)
    for name, expected in (
        ("labels", pseudo.labels),
        ("observed", targets == 1),
        ("observed_negatives", targets == -1),
        ("truth", np.concatenate([truth.labels, np.zeros((10, 3), np.bool_)])),
        ("known", np.arange(N_TRAIN) < 30),
        ("tiny", np.ones(N_TRAIN, np.bool_)),
    ):
        assert np.array_equal(matrix(data[name], *expected.shape), expected), name


def test_a_part_of_the_images_is_evenly_spaced_and_the_output_names_its_size(here: Path) -> None:
    make_data(here)
    assert "labels of 7 of 40 images: " in run("--most", "7").output
    data = data_in((here / "reports/labels/index.html").read_text())
    ids = tables.read_scores(here / "data/scores.parquet").image_ids
    assert data["image_ids"] == [ids[row] for row in (0, 6, 13, 19, 26, 32, 39)]
    assert data["n_train"] == N_TRAIN
    thumbnails = sorted(path.name for path in (here / "reports/labels/thumbnails").iterdir())
    assert thumbnails == [f"{number}.png" for number in range(7)]


@pytest.mark.parametrize(("n", "most", "rows"), [(3, 5, [0, 1, 2]), (9, 3, [0, 4, 8]), (4, 1, [0])])
def test_rows_are_from_the_first_to_the_last(n: int, most: int, rows: list[int]) -> None:
    assert evenly_spaced(n, most).tolist() == rows


def test_without_truth_nothing_is_judged_and_a_note_says_so(here: Path) -> None:
    (make_data(here) / "truth.parquet").unlink()
    assert "note: The truth of these images is unknown" in run().output
    data = data_in((here / "reports/labels/index.html").read_text())
    assert data["truth"] == data["known"] == ""
    assert data["notes"][0].startswith("The truth of these images is unknown")


def test_a_note_counts_the_images_without_truth(here: Path) -> None:
    make_data(here, n_known=25)
    assert "The truth of 15 of these 40 images is unknown" in run().output


def test_another_rule_has_no_tau(here: Path) -> None:
    path = make_data(here) / "pseudo_labels.parquet"
    change_rule(path, {b"spml.rule": b"taus_of_classes", b"spml.rule.taus": b'{"cat": 0.3}'})
    run()
    data = data_in((here / "reports/labels/index.html").read_text())
    assert (data["tau"], data["agrees"], data["keep_observed"]) == (None, False, True)
    assert data["rule"]["name"] == "taus_of_classes"
    assert data["rule"]["settings"]["taus"] == '{"cat": 0.3}'


def test_a_file_that_names_no_rule_has_none(here: Path) -> None:
    path = make_data(here) / "pseudo_labels.parquet"
    index = tables.read_index(here / "data/index.parquet")
    pseudo = tables.read_pseudo_labels(path)
    tables.write_pseudo_labels(path, replace(pseudo, rule=None), index.classes)
    run()
    data = data_in((here / "reports/labels/index.html").read_text())
    assert (data["rule"], data["tau"], data["width"]) == (None, None, None)


@pytest.mark.parametrize(("rule", "width"), [("band", 0.2), ("soft", None)])
def test_band_and_soft_have_the_tau_that_the_figures_mark(
    here: Path, rule: str, width: float | None
) -> None:
    path = make_data(here, rule=rule, width=0.2) / "pseudo_labels.parquet"
    run()
    data = data_in((here / "reports/labels/index.html").read_text())
    pseudo = tables.read_pseudo_labels(path)
    assert pseudo.rule is not None
    assert data["tau"] == pseudo.rule.single_tau == 0.4
    assert data["agrees"]
    assert data["width"] == width
    ignored = bits_of(data["ignored"], N_TRAIN, 3)
    assert ignored.any() == (rule == "band")
    assert np.array_equal(ignored, pseudo.ignored)


def test_a_note_counts_scores_that_differ(here: Path) -> None:
    data = make_data(here)
    scores = tables.read_scores(data / "scores.parquet")
    higher = Scores(scores.image_ids, np.sqrt(scores.probs))
    tables.write_scores(data / "scores.parquet", higher, ("cat", "dog", "cow"))
    assert "scores in the file differ from scores.parquet" in run().output
    assert data_in((here / "reports/labels/index.html").read_text())["agrees"] is False


# --- parts of the page -------------------------------------------------------------------


def test_hostile_names_stay_inside_the_block_of_data(here: Path) -> None:
    make_data(here, classes=HOSTILE, image_ids=HOSTILE)
    run()
    html = (here / "reports/labels/index.html").read_text(encoding="utf-8")
    data = data_in(html)
    assert data["classes"] == list(HOSTILE)
    index = tables.read_index(here / "data/index.parquet")
    assert data["image_ids"] == index.ids(index.rows("train"))
    assert len(set(HOSTILE) & set(data["image_ids"])) == len(HOSTILE) - 2  # of test and val
    assert len(re.findall(r"<script", html)) == len(re.findall(r"</script", html)) == 2
    assert "alert(" not in re.sub(r'id="data">.*?</script>', "", html, flags=re.S)
    names = [path.name for path in (here / "reports/labels/thumbnails").iterdir()]
    assert all(re.fullmatch(r"\d+\.png", name) for name in names)


def test_nothing_is_fetched_from_the_web(here: Path) -> None:
    make_data(here)
    run()
    html = (here / "reports/labels/index.html").read_text(encoding="utf-8")
    addresses = re.findall(r"(?:https?:)?//[a-z][\w.]+/?\S*", html)
    assert [address.split('"')[0] for address in addresses] == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|innerHTML|insertAdjacentHTML|document\.write", html)
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', html)
    assert policy.startswith("default-src 'none'; img-src 'self' file:; ")
    for kind, tag in (("style", "<style>"), ("script", "<script>")):
        text = html.split(tag)[1].split(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_equal_inputs_give_equal_bytes(here: Path) -> None:
    make_data(here, size=(300, 200))
    run("--out", "one")
    run("--out", "two")
    assert files_of(here / "one") == files_of(here / "two")
    assert len(files_of(here / "one")) == N_TRAIN + 1


def test_an_older_page_is_replaced_as_a_whole(here: Path) -> None:
    make_data(here)
    run()
    assert len(files_of(here / "reports/labels")) == N_TRAIN + 1
    run("--most", "3")
    assert len(files_of(here / "reports/labels")) == 4
    assert [path.name for path in (here / "reports").glob("l*")] == ["labels"]


def test_photographs_are_shrunk_and_keep_their_shape(here: Path) -> None:
    make_data(here, size=(300, 150))
    run("--most", "2")
    folder = here / "reports/labels"
    with Image.open(folder / "thumbnails/1.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (240, 120))
    data = data_in((folder / "index.html").read_text())
    assert (data["tiny"], data["shape"]) == ("", 0.5)


def test_tiny_images_are_kept_pixel_by_pixel(here: Path) -> None:
    make_data(here)
    run("--most", "1")
    with Image.open(here / "reports/labels/thumbnails/0.png") as image:
        kept = np.asarray(image)
    with Image.open(io.BytesIO(encoded(1, (12, 8)))) as image:  # row 0 is of test
        assert np.array_equal(kept, np.asarray(image))


def test_the_signs_have_the_colours_of_the_contact_sheet() -> None:
    style = (Path(page.__file__).parent / "page.css").read_text()
    light = style.split("@media")[0]
    for name in ("observed", "right", "wrong", "missed", "added", "ignored"):
        assert f"--{name}: {getattr(canvas, name.upper()).lower()};" in light


# --- errors ------------------------------------------------------------------------------


def test_an_index_of_other_observed_labels_is_refused(here: Path) -> None:
    make_data(here / "one")
    make_data(here / "two", negatives=True)  # other draws
    file = "one/data/pseudo_labels.parquet"
    output = run(file, "--data", "two/data", exit_code=1).output
    assert output == (
        f"Error: {file}: its observed labels differ from those of the index, so it was made for "
        f"other data; should be made again: run `dvc repro`\n"
    )


@pytest.mark.parametrize("value", ["nan", "high", "", "-0.1", "1.5"])
def test_an_invalid_tau_is_an_error(here: Path, value: str) -> None:
    change_rule(make_data(here) / "pseudo_labels.parquet", {b"spml.rule.tau": value.encode()})
    output = run(exit_code=1).output
    assert output == (
        f"Error: data/pseudo_labels.parquet: metadata 'spml.rule.tau' = {value!r}: should be a "
        f"number from 0 to 1\n"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("index", "run the stage prepare first"),
        ("scores", "run the stage score first"),
        ("pseudo_labels", "run the stage pseudo_label first"),
        ("images", "run the stage prepare first"),
    ],
)
def test_a_missing_table_is_an_error_of_one_line_and_nothing_is_written(
    here: Path, name: str, message: str
) -> None:
    (make_data(here) / f"{name}.parquet").unlink()
    output = run(exit_code=1).output
    assert output == f"Error: data/{name}.parquet: no such file; {message}\n"
    assert not (here / "reports").exists() or not any((here / "reports").iterdir())


def test_a_file_that_is_not_a_table_leaves_the_older_page(here: Path) -> None:
    make_data(here)
    run("--most", "2")
    before = files_of(here / "reports")
    (here / "other.parquet").write_bytes(b"no Parquet")
    output = run("other.parquet", exit_code=1).output
    assert output.startswith("Error: other.parquet: cannot be read as Parquet: ")
    assert output.count("\n") == 1
    assert files_of(here / "reports") == before


def test_a_folder_with_other_files_is_not_replaced(here: Path) -> None:
    make_data(here)
    (here / "notes").mkdir()
    (here / "notes/a.txt").write_text("mine")
    for out, named in (("notes", "a.txt"), (".", "data, notes")):
        output = run("--out", out, exit_code=1).output
        assert output == (
            f"Error: {out}: holds other files, which would be lost: {named}; should be a folder "
            f"that does not exist, or an older page\n"
        )
    assert "notes/a.txt: is a file" in run("--out", "notes/a.txt", exit_code=1).output
    assert (here / "notes/a.txt").read_text() == "mine"


def test_zero_images_are_refused(here: Path) -> None:
    make_data(here)
    assert run("--most", "0", exit_code=1).output == "Error: most = 0: should be at least 1\n"
    with pytest.raises(InputError, match="should be at least 1"):
        evenly_spaced(4, -1)


def test_an_image_that_cannot_be_read_leaves_the_older_page(here: Path) -> None:
    make_data(here)
    run("--most", "2")
    before = files_of(here / "reports")
    index = tables.read_index(here / "data/index.parquet")
    broken = [b"broken"] * len(index.image_ids)
    tables.write_images(here / "data/images.parquet", index.image_ids, broken)
    output = run(exit_code=1).output
    assert "data/images.parquet: 40 of 40 images cannot be read: p001 (has changed" in output
    assert files_of(here / "reports") == before
