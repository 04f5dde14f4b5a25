"""How far a bundle is from PyTorch, with its preprocessing in the graph and with Pillow, as stored and in other sizes.

    python -m benchmarks.bundle --artifacts FOLDER --images 1000

FOLDER holds ``fetch/`` and ``baseline/`` of a run; its dense network is exported. Probabilities are compared, one image
at a time in ONNX Runtime, with PyTorch's on the pixels that Pillow makes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import PIL
import torch

from benchmarks.common import publish, table
from eyas.data import open_dataset
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.golden_pairs import SCALES, golden_pairs
from eyas.deploy.bundle.preprocessing import NETWORK, PREPROCESSING, preprocessing_of
from eyas.deploy.bundle.preprocessing_graph import write_end_to_end
from eyas.deploy.exporters import Exporter
from eyas.networks.saved_network import load_network


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    asked = parser.parse_args()
    dataset = open_dataset(asked.artifacts / "fetch")
    network = load_network(asked.artifacts / "baseline", allowed=("models:build",)).model.eval()
    pairs, rows = golden_pairs(dataset, network, asked.images), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Exporter.parse("onnx")(network, torch.zeros(2, *dataset.image_shape), folder / NETWORK)
        (folder / "labels.json").write_text(json.dumps(dataset.class_names))
        pairs.write(folder)
        for in_graph in (True, False):
            record = preprocessing_of(dataset, in_graph=in_graph)
            (folder / PREPROCESSING).write_text(record.model_dump_json())
            write_end_to_end(folder / NETWORK, record, folder / "end_to_end.onnx")
            answers_NK, expected_NK = pairs.answers(Classifier(folder, threads=1)), pairs.probabilities
            differences_N = np.abs(answers_NK - expected_NK).max(1)
            same_N = answers_NK.argmax(1) == expected_NK.argmax(1)
            for name, part in (("as stored", slice(0, None, 2)), ("other sizes", slice(1, None, 2))):
                chosen_N = differences_N[part]
                spread = np.quantile(chosen_N, (0.5, 0.99, 1)).tolist()
                where = "graph" if in_graph else "Pillow"
                rows.append((where, name, len(chosen_N), *spread, float(same_N[part].mean())))
    head = ("preprocessing", "images", "n", "median difference", "99 %", "largest", "top-1 agreement")
    notes = [
        f"The dense network of a run, on images of {dataset.image_shape}.",
        f"ONNX Runtime {onnxruntime.__version__}, Pillow {PIL.__version__}.",
        f"Other sizes: width and height times {SCALES}.",
        "A difference is the largest of an image's probabilities from PyTorch's.",
    ]
    publish("bundle", "A bundle against PyTorch", notes, table(head, rows))


if __name__ == "__main__":
    main()
