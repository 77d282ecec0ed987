"""Measure `predict`: its speed against the bare network, and its memory by the number of images.

    python -m benchmarks.predict speed
    python -m benchmarks.predict memory --counts 1000,20000

Speed: images per second of the whole, from files to scores, and of the network alone on batches
that lie in memory. Both are measured in turn, several times; the ratio is that of the medians. On
a busy machine the time of the processor tells more than the clock.
Memory: the peak of a whole process that labels small PNG files.
"""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch
from PIL import Image

from pipeline.artifacts.spec import Spec
from pipeline.images import reading
from pipeline.inference.score import choose_device, describe_device, probabilities, to_device
from pipeline.models import model_file
from pipeline.models.classifier import Classifier
from pipeline.models.weights import CENTRED, IMAGENET
from pipeline.prediction import find, stream
from stages import Stage

# Backbone, input size, size and format of the files.
CASES = (
    ("mobilenet_v2", 224, (500, 375), "JPEG"),
    ("small_cnn", 40, (40, 40), "PNG"),
)


@click.group()
def main() -> None:
    """Measure `predict`."""


@main.command(cls=Stage)
@click.option("--images", "count", default=128, show_default=True, help="a multiple of 64")
@click.option("--times", default=3, show_default=True, help="measurements of each")
def speed(count: int, times: int) -> None:
    """Print images per second of the whole and of the network alone."""
    fabric = choose_device("32")
    click.echo(f"device: {describe_device(fabric, '32')}, {os.cpu_count()} cores")
    for backbone, size, pixels, kind in CASES:
        with tempfile.TemporaryDirectory() as folder:
            _write_images(Path(folder), count, pixels, kind)
            spec = Spec(backbone, ("a", "b", "c"), size, *IMAGENET)
            model = Classifier(spec).to(memory_format=torch.channels_last).eval()
            fabric.to_device(model)
            files = list(find.images([folder]))
            arrays = [reading.squeezed(reading.decode(file.encoded()), size) for file in files]
            batches = np.stack(arrays).reshape(-1, stream.MOST, size, size, 3)

            def bare(model: Classifier = model, batches: np.ndarray = batches) -> None:
                with torch.inference_mode():
                    for batch in batches:
                        inputs = to_device(batch, np.arange(len(batch)), fabric)
                        probabilities(model, inputs).cpu()

            def whole(model: Classifier = model, files: list[find.Named] = files) -> None:
                for scored in stream.score(fabric, model, files):
                    assert not scored.unreadable

            _seconds(bare), _seconds(whole)  # warm up
            found = [(*_seconds(bare), *_seconds(whole)) for _ in range(times)]
            network, busy, predict, busy_too = (
                1000 / count * median(each) for each in zip(*found, strict=True)
            )
            click.echo(
                f"{backbone} at {size}, {kind} of {pixels[0]} x {pixels[1]}, ms per image: network "
                f"alone {network:.2f} ({busy:.2f} of the processor), predict {predict:.2f} "
                f"({busy_too:.2f}); {1000 / predict:.0f} against {1000 / network:.0f} images/s, "
                f"ratio {network / predict:.2f} (processor {busy / busy_too:.2f})"
            )


@main.command(cls=Stage)
@click.option("--counts", default="1000,20000", show_default=True)
def memory(counts: str) -> None:
    """Print the peak memory of a process that labels so many images."""
    for count in map(int, counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            _write_images(Path(folder), count, (40, 40), "PNG")
            model = Path(folder, "model.safetensors")
            model_file.save(model, Classifier(Spec("small_cnn", ("a", "b", "c"), 40, *CENTRED)))
            for suffix in ("csv", "parquet"):
                command = [
                    sys.executable, "-m", "stages.predict", str(model), folder, "--scores",
                    "--threshold", "0.5", "--out", f"{folder}/labels.{suffix}",
                ]  # fmt: skip
                with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
                    _, status, used = os.wait4(process.pid, 0)
                assert status == 0, status
                click.echo(f"{count:,} images, {suffix}: peak {used.ru_maxrss / 1024:,.0f} MiB")


def _write_images(folder: Path, count: int, size: tuple[int, int], kind: str) -> None:
    """Write images of smooth noise, which compress about as photographs do."""
    rng = np.random.RandomState(0)
    small = rng.randint(256, size=(16, size[1] // 8, size[0] // 8, 3)).astype(np.uint8)
    contents = []
    for pixels in small:
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
        contents.append(buffer.getvalue())
    for number in range(count):
        (folder / f"{number:06}.{kind.lower()}").write_bytes(contents[number % len(contents)])


def _seconds(task: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of a task, by the clock and of the processor over all threads."""
    start, busy = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - start, time.process_time() - busy


if __name__ == "__main__":
    main()
