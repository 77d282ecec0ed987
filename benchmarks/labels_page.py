"""Measure the page of labels in a browser, by default at the size of COCO 2014.

    python -m benchmarks.labels_page

The images, the scores and the labels are invented; the rule is the shipped one. Opening is from
the call to the first card, a new tau from the slider to the laid-out page, the median and the worst
of several. The second number is the time of the page's thread on the processor, which a busy
machine changes less. It needs playwright and a Chromium on the PATH.
"""

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image
from playwright.sync_api import CDPSession, Page, sync_playwright

from pipeline.artifacts.run import RunTables
from pipeline.artifacts.tables import Index, Scores, Truth
from pipeline.core import hashes
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels
from pipeline.viewer import page
from presets import preset

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (640, 480)
N_FILES = 50  # the images share these files
TAUS = [0.35, 0.5, 0.62, 0.63, 0.8, 0.95, 0.4]
NEW_TAU = """tau => new Promise(done => {
  const start = performance.now();
  setTau(tau);  // asks for a redraw before the next frame
  requestAnimationFrame(() => {
    document.body.getBoundingClientRect();
    done(performance.now() - start);
  });
})"""
# What is set before the taus are measured.
VIEWS = {
    "all images": "clearFilters()",
    "kind: added": "document.querySelector('#kinds .added input').click()",
    "kind: added, highest score first": (
        "wanted.sort = 'falling'; document.querySelector('#kinds .added input').click()"
    ),
}


@click.command()
@click.option("--images", "n_images", type=click.IntRange(3), default=82_081, show_default=True)
@click.option("--classes", "n_classes", type=click.IntRange(1), default=80, show_default=True)
def main(n_images: int, n_classes: int) -> None:
    """Write a page, open it, move tau, and print a table."""
    lines = ["| | | of which on the processor |", "|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SPML_DATA_ROOT"] = name
        tables = _tables(folder, n_images, n_classes)
        started = time.perf_counter()
        page.write(folder / "page", Path("pseudo_labels.parquet"), tables, n_images)
        lines.append(f"| write it, s | {time.perf_counter() - started:.1f} | |")
        size = sum(path.stat().st_size for path in (folder / "page").rglob("*") if path.is_file())
        lines.append(f"| its folder, MB | {size / 1e6:.0f} | |")
        lines += _in_browser(folder / "page" / page.PAGE)
    click.echo("\n".join(lines))


def _tables(folder: Path, n_images: int, n_classes: int) -> RunTables:
    """Return the tables of an invented run, with a val and a test image."""
    rng = np.random.default_rng(0)
    frequency = 0.4 / np.arange(1, n_classes + 1) ** 0.7  # about three positives per image
    truth = rng.random((n_images, n_classes)) < frequency
    targets = np.zeros((n_images + 2, n_classes), np.int8)
    rows, places = np.nonzero(truth)
    first = np.unique(rows, return_index=True)[1]
    targets[rows[first], places[first]] = 1
    logits = rng.standard_normal(truth.shape, np.float32) + np.where(truth, 1, -3)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    names = [f"{number}.jpg" for number in range(N_FILES)]
    for name in names:
        noise = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
        Image.fromarray(noise).resize(SIZE).save(folder / name)
    contents = hashes.of_files([folder / name for name in names])
    every = range(n_images + 2)
    index = Index(
        classes=tuple(f"class {number}" for number in range(n_classes)),
        image_ids=[f"COCO_train2014_{number:012}.jpg" for number in every],
        paths=[names[number % N_FILES] for number in every],
        splits=np.array(["train"] * n_images + ["val", "test"]),
        targets=targets,
        labels=np.zeros(targets.shape, np.bool_),
        sizes=np.array([(folder / names[number % N_FILES]).stat().st_size for number in every]),
        sha256=[contents[number % N_FILES] for number in every],
    )
    ids = index.image_ids[:n_images]
    scored = Scores(ids, scores)
    # The shipped rule, but with priors from the observed labels: the val image has none.
    rule = preset.values(preset.DEFAULT)["pseudo_label"] | {"prior": "best_bin"}
    pseudo = pseudo_labels(PseudoLabelParams.model_validate(rule), index, scored)
    return RunTables(index, scored, pseudo, Truth(ids, truth))


def _in_browser(path: Path) -> list[str]:
    """Open the page; return the lines of the table."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"needs a browser on the PATH: one of {', '.join(BROWSERS)}")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses it as root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=flags)
        opened = chromium.new_page(viewport={"width": 1440, "height": 900})
        session = opened.context.new_cdp_session(opened)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        started = time.perf_counter()
        opened.goto(path.as_uri(), wait_until="commit")
        opened.locator(".card").first.wait_for()
        seconds = time.perf_counter() - started
        lines = [f"| open it, s | {seconds:.2f} | {_processor(session):.2f} |"]
        for view, script in VIEWS.items():
            opened.evaluate(script)
            lines.append(f"| a new tau, ms, {view} | {_new_taus(opened, session)} |")
        chromium.close()
    return lines


def _new_taus(opened: Page, session: CDPSession) -> str:
    taken, on_processor = [], []
    for tau in TAUS:
        before = _processor(session)
        taken.append(opened.evaluate(NEW_TAU, tau))
        on_processor.append((_processor(session) - before) * 1000)
    return " | ".join(
        f"{statistics.median(times):.0f}, at most {max(times):.0f}"
        for times in (taken, on_processor)
    )


def _processor(session: CDPSession) -> float:
    """Return the seconds that the page's thread was on a processor."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
