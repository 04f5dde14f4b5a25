"""Every installed format of one network: parity, accuracy, latency, size; a JSON line per format, resumable.

    python benchmarks/formats.py --baseline artifacts/baseline --fetch artifacts/fetch --out formats.jsonl

Accuracy is that of the first ``--images`` test images. Latency: interleaved runs of batch 1, one thread, each format in
its own runtime, last, so that all stand side by side.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from eyas.data import open_dataset
from eyas.deploy.artifact_gate import compare_artifact
from eyas.deploy.calibration_check import require_like_training
from eyas.deploy.exporters import Exporter
from eyas.deploy.latency import measure
from eyas.deploy.named_outputs import outputs_of
from eyas.deploy.runtimes import Runtime
from eyas.errors import EyasError
from eyas.networks.saved_network import load_network
from tasks.export import calibration_images

VARIANTS = {
    "onnx": {},
    "onnx_int8": {"max_accuracy_drop": 0.01},
    "onnx_int8 percentile": {"kind": "onnx_int8", "calibration": "percentile"},
    "onnx_int8 entropy": {"kind": "onnx_int8", "calibration": "entropy"},
    "onnx_int8 per tensor": {"kind": "onnx_int8", "per_channel": False},
    "openvino": {},
    "openvino_int8": {},
    "executorch": {},
    "executorch_int8": {},
    "pt2": {},
}


def main() -> None:
    """Write, compare and time what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("baseline", "fetch", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.touch()
    done = {json.loads(line)["format"] for line in arguments.out.read_text().splitlines()}
    dataset, network = open_dataset(arguments.fetch), load_network(arguments.baseline).model
    test = dataset.split("test")
    images, labels = dataset.normalise(test.images(arguments.images)), test.labels[: arguments.images]
    ranges, held_out = calibration_images(dataset, wanted=True)
    distance = require_like_training(network, ranges)
    expected = outputs_of(network, images)
    folder = arguments.out.with_suffix("")
    folder.mkdir(exist_ok=True)

    def write(record: dict[str, object]) -> None:
        print(json.dumps(record), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(record) + "\n")

    files: dict[str, Path] = {}
    runtimes: dict[str, Runtime] = {}
    for name, options in VARIANTS.items():
        exporter = Exporter.parse({"kind": name, **options})
        path = folder / f"{name.replace(' ', '_')}{exporter.suffix}"
        try:
            exporter.check()
            if name not in done:
                start = time.perf_counter()
                exporter.write(network, ranges, held_out, path)
                seconds = time.perf_counter() - start
            runtime = Runtime.parse(exporter.runtime)
            for word, one in {"": runtime, **runtime.alternatives()}.items():
                label = f"{name} ({word})" if word else name
                files[label], runtimes[label] = path, one
                if name in done:
                    continue
                parity = compare_artifact(expected, one.open(path).outputs(images), labels)
                report = json.loads(exporter.report(path).read_text()) if exporter.report(path).exists() else {}
                size = sum(file.stat().st_size for file in exporter.files(path))
                facts = {"version": one.version(), "bytes": size, "seconds": seconds, "sensitivity": report}
                write({"format": label, **parity.as_dict(), **facts, "calibration_distance": distance})
        except EyasError as error:
            write({"format": name, "error": str(error)})
    times = measure(files, dict.fromkeys(files, dataset.image_shape), runs=arguments.runs, runtimes=runtimes)
    write({"format": "latency", "date": time.strftime("%Y-%m-%d"), **times})


if __name__ == "__main__":
    main()
