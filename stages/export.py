"""export: a model file -> a folder for other programs; not in dvc.yaml.

python -m stages.export --to onnx
python -m stages.export data/teacher/model.safetensors --to timm --out published
"""

from pathlib import Path
from typing import get_args

import click

from pipeline.artifacts.run import Run
from pipeline.export import write
from stages import SoloStage, say

PATH = click.Path(path_type=Path)


@click.command(cls=SoloStage)
@click.argument("model", type=PATH, default=Run().student_model)
@click.option("--to", type=click.Choice(get_args(write.Format)), required=True)
@click.option("--out", type=PATH, help="The new folder; else reports/export/ and the format.")
def main(model: Path, to: write.Format, out: Path | None) -> None:
    """Write MODEL for ONNX Runtime, for timm and transformers, or as TorchScript.

    MODEL is data/student/model.safetensors if none is given. The folder gets the model and a model
    card, README.md. The scores are compared with PyTorch's first.
    """
    exported = write.write(model, to, out or Run().reports / "export" / to)
    say(
        f"{exported.by} and PyTorch on {exported.images}: scores differ by at most "
        f"{exported.largest:.1e}"
    )
    names = sorted(path.name for path in exported.folder.iterdir())
    say(f"exported to {exported.folder}: {', '.join(names)}")


if __name__ == "__main__":
    main()
