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
from urllib.parse import unquote, urljoin, urlparse

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.artifacts import tables
from pipeline.artifacts.answers import Answer
from pipeline.artifacts.tables import Scores
from pipeline.core.errors import InputError
from pipeline.figures import canvas
from pipeline.pseudo_labels.order import order_of
from pipeline.pseudo_labels.rules import about_tau, pseudo_labels
from pipeline.viewer import page
from pipeline.viewer.data import evenly_spaced
from tests.builders.label_page import (
    COMBINATIONS,
    HOSTILE,
    N_TRAIN,
    change_rule,
    encoded,
    make_data,
    rule_of,
    run,
    taus_to_try,
    with_files,
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
    unpacked = np.unpackbits(packed, bitorder="little", count=int(np.prod(shape)))
    return unpacked.reshape(shape).astype(np.bool_)


def bits_of(text: str, *shape: int) -> np.ndarray:
    return matrix(text, *shape) if text else np.zeros(shape, np.bool_)


def floats_of(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


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
    assert data["rule"] == {
        "words": "tau 0.4", "settings": {"rule": "tau", "tau": "0.4", "keep_observed": "true"},
    }  # fmt: skip
    assert data["tau"] == 0.4
    assert data["slider"] == {
        "above": None, "width": None, "confidence": False, "keep_observed": True, "eligible": "",
    }  # fmt: skip
    assert (data["teacher"], data["calibration"]) == ("", "")
    assert [note[:9] for note in data["notes"]] == ["The truth"]
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
        ("png", np.ones(N_TRAIN, np.bool_)),
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


def test_another_rule_has_no_slider(here: Path) -> None:
    path = make_data(here) / "pseudo_labels.parquet"
    change_rule(path, {b"spml.rule": b"taus_of_classes", b"spml.rule.taus": b'{"cat": 0.3}'})
    output = run().output
    data = data_in((here / "reports/labels/index.html").read_text())
    assert data["slider"] is None
    assert data["rule"]["words"] == "taus_of_classes"
    assert data["rule"]["settings"]["rule"] == "taus_of_classes"
    assert data["rule"]["settings"]["taus"] == '{"cat": 0.3}'
    assert data["notes"][0].startswith(
        "tau cannot be moved: pseudo_labels.parquet: spml.rule.rule = 'taus_of_classes': should be"
    )
    assert f"note: {data['notes'][0]}" in output


def test_a_file_that_names_no_rule_has_no_slider(here: Path) -> None:
    path = make_data(here) / "pseudo_labels.parquet"
    index = tables.read_index(here / "data/index.parquet")
    pseudo = tables.read_pseudo_labels(path)
    tables.write_pseudo_labels(path, replace(pseudo, rule=None), index.classes)
    run()
    data = data_in((here / "reports/labels/index.html").read_text())
    assert (data["rule"], data["tau"], data["slider"]) == (None, None, None)
    assert data["notes"][0].startswith(
        "tau cannot be moved: pseudo_labels.parquet: has no metadata"
    )


def test_labels_changed_by_hand_fix_tau(here: Path) -> None:
    path = make_data(here) / "pseudo_labels.parquet"
    index = tables.read_index(here / "data/index.parquet")
    pseudo = tables.read_pseudo_labels(path)
    pseudo.labels[5, 2] ^= True
    pseudo.probs[5, 2] = 0.5
    tables.write_pseudo_labels(path, pseudo, index.classes)
    output = run().output
    assert "note: tau cannot be moved: 1 of the 120 entries in the file differ from " in output


def test_isotonic_scores_need_the_val_scores(here: Path) -> None:
    data = make_data(here, n_val=30, calibrate="isotonic")
    run()
    assert data_in((here / "reports/labels/index.html").read_text())["slider"]
    (data / "val_scores.parquet").unlink()
    assert "calibrate isotonic needs val_scores.parquet, which is missing" in run().output
    assert not data_in((here / "reports/labels/index.html").read_text())["slider"]


@pytest.mark.parametrize("rule", COMBINATIONS, ids=str)
def test_the_data_give_the_labels_of_pseudo_label_at_every_tau(
    here: Path, rule: dict[str, Any]
) -> None:
    tables_of = make_data(here, negatives=True, n_val=30, **rule)
    run()
    data = data_in((here / "reports/labels/index.html").read_text())
    index = tables.read_index(tables_of / "index.parquet")
    scores = tables.read_scores(tables_of / "scores.parquet")
    val_scores = tables.read_scores(tables_of / "val_scores.parquet")
    q = floats_of(data["scores"], N_TRAIN, 3)
    assert bool(data["teacher"]) == bool(data["calibration"]) == (q != scores.probs).any()
    slider = data["slider"]
    observed = index.targets[index.rows("train")]
    for tau in taus_to_try(q, rule_of(0.4, **rule)):
        made = pseudo_labels(rule_of(tau, **rule), index, scores, val_scores)
        # What labels.js does.
        labels = q > np.float32(tau)
        ignored = np.zeros(q.shape, np.bool_)
        if slider["width"] is not None:
            ignored = q >= np.float32(tau - slider["width"])
        elif slider["confidence"]:
            ignored = (q >= np.float32(tau)) & (about_tau(q, tau) >= 0.5)
        if slider["eligible"]:
            labels &= bits_of(slider["eligible"], *q.shape)
        ignored &= ~labels
        if slider["keep_observed"]:
            labels = (labels | (observed == 1)) & (observed != -1)
            ignored &= observed == 0
        assert np.array_equal(labels, made.labels), tau
        assert np.array_equal(ignored, made.ignored & ~(made.labels & made.ignored)), tau


def test_the_slider_takes_the_taus_that_the_params_take() -> None:
    for changes in (*COMBINATIONS, {"weights": "confidence"}, {"rule": "band", "width": 0.2}):
        above = rule_of(0.9, **changes).tau_above
        for tau in (0.0, 1e-9, 0.2, 0.2000001, 0.3, 0.31):
            try:
                rule_of(tau, **changes)
            except ValidationError:
                assert above is not None
                assert tau <= above
            else:
                assert above is None or tau > above


def test_a_note_counts_scores_that_differ(here: Path) -> None:
    data = make_data(here)
    scores = tables.read_scores(data / "scores.parquet")
    higher = Scores(scores.image_ids, np.sqrt(scores.probs))
    tables.write_scores(data / "scores.parquet", higher, ("cat", "dog", "cow"))
    assert "scores in the file differ from scores.parquet" in run().output
    assert data_in((here / "reports/labels/index.html").read_text())["slider"] is None


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
    assert {path.name for path in (here / "reports").iterdir()} == {"index.html", "labels"}


def test_photographs_are_shrunk_and_keep_their_shape(here: Path) -> None:
    make_data(here, size=(300, 150))
    run("--most", "2")
    folder = here / "reports/labels"
    with Image.open(folder / "thumbnails/1.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (240, 120))
    data = data_in((folder / "index.html").read_text())
    assert (data["png"], data["shape"]) == ("", 0.5)


@pytest.mark.parametrize("name", ["p 1 #?%.png", "dog/ä:b.png"])
def test_without_thumbnails_the_page_names_the_files(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = make_data(here)
    index = with_files(data, here / "photos", name, size=(30, 15))
    monkeypatch.setenv("SPML_DATA_ROOT", "photos")
    output = run("--no-thumbnails").output
    folder = here / "reports/labels"
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    found = data_in((folder / "index.html").read_text())
    assert found["files"]["folder"] == (here / "photos").as_uri() + "/"
    assert f"note: the page loads the images from {found['files']['folder']}" in output
    addresses = [urljoin(found["files"]["folder"], name) for name in found["files"]["names"]]
    paths = [Path(unquote(urlparse(address).path)) for address in addresses]
    assert paths == [here / "photos" / str(index.paths[row]) for row in index.rows("train")]
    assert all(path.is_file() for path in paths)
    assert found["shape"] == 0.5
    run("--thumbnails")
    assert data_in((folder / "index.html").read_text())["files"] is None


def test_many_images_with_files_have_no_thumbnails(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(here)
    monkeypatch.setattr(page, "MOST_THUMBNAILS", N_TRAIN - 1)
    run()
    assert (here / "reports/labels/thumbnails").is_dir(), "images.parquet has no files"
    with_files(data, here / "photos", "a.png", size=(12, 8))
    monkeypatch.setenv("SPML_DATA_ROOT", "photos")
    run()
    assert not (here / "reports/labels/thumbnails").exists()
    run("--most", str(N_TRAIN - 1))
    assert (here / "reports/labels/thumbnails").is_dir()


def test_images_without_a_file_need_thumbnails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(here)
    assert run("--no-thumbnails", exit_code=1).output == (
        "Error: --no-thumbnails: the images are in data/images.parquet and not in files, so the "
        "page cannot load them; should be --thumbnails\n"
    )
    with_files(data, here / "photos", "a.png", size=(12, 8))
    monkeypatch.setenv("SPML_DATA_ROOT", "photos")
    (here / "photos/7-a.png").unlink()
    assert run("--no-thumbnails", exit_code=1).output == (
        f"Error: {here}/photos: 1 of 40 images cannot be read: 7-a.png (no such file)\n"
    )
    assert not (here / "reports").exists() or not any((here / "reports").iterdir())


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


# --- corrections -------------------------------------------------------------------------


def test_the_page_has_every_correction_and_tau_still_moves(here: Path) -> None:
    data = make_data(here)
    index = tables.read_index(data / "index.parquet")
    scores = tables.read_scores(data / "scores.parquet")
    answers = np.zeros(scores.probs.shape, np.int8)
    answers[0, 2], answers[17, 0], answers[17, 1] = Answer.PRESENT, Answer.ABSENT, Answer.UNKNOWN
    made = pseudo_labels(rule_of(0.4), index, scores, answers=answers)
    tables.write_pseudo_labels(data / "pseudo_labels.parquet", made, index.classes)
    run("--most", "2")
    shown = data_in((here / "reports/labels/index.html").read_text())
    assert shown["image_ids"] == [made.image_ids[0], made.image_ids[-1]]
    first, other = made.image_ids[0], made.image_ids[17]
    assert shown["answers"] == [
        [first, 2, "present"], [other, 0, "absent"], [other, 1, "unknown"],
    ]  # fmt: skip
    assert shown["digest"] == made.digest()
    assert shown["slider"] is not None, "the rule and the corrections give the labels in the file"


def test_the_page_has_the_gain_of_looking_at_each_image(here: Path) -> None:
    data = make_data(here)
    index = tables.read_index(data / "index.parquet")
    scores = tables.read_scores(data / "scores.parquet")
    pseudo = tables.read_pseudo_labels(data / "pseudo_labels.parquet")
    run()
    shown = data_in((here / "reports/labels/index.html").read_text())
    order = order_of(index, scores, None, pseudo)
    gain = np.frombuffer(base64.b64decode(shown["gain"]), "<f4")
    assert np.array_equal(gain, order.gain.max(axis=1).astype(np.float32))
    assert shown["look"] == order.gain.argmax(axis=1).tolist()

    unseen = replace(index, targets=np.zeros_like(index.targets))
    tables.write_index(data / "index.parquet", unseen)
    plain = replace(pseudo, observed=np.zeros_like(pseudo.observed), about={})
    tables.write_pseudo_labels(data / "pseudo_labels.parquet", plain, index.classes)
    assert "note: The images have no order of what to look at first: " in run().output
    assert data_in((here / "reports/labels/index.html").read_text())["gain"] == ""
