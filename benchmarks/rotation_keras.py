"""Rotation as a pretext on CIFAR-10: the classic Keras recipe of that idea, and bodh in a quarter of its time.

    python -m venv keras && keras/bin/pip install tensorflow-cpu pyarrow pillow
    keras/bin/python benchmarks/rotation_keras.py --side keras --out runs/rotation
    python benchmarks/rotation_keras.py --side bodh --out runs/rotation [--share 0.25]

The recipe, as tutorials write it: three convolutions (32-64-64) with pooling, a dense layer of 64, softmax over four
rotations, Adam, ten epochs on all rotations of all images as they are (0 to 255), then a dense classifier on the 64
features, ten epochs. Keras needs an environment of its own (its TensorFlow and bodh's PyTorch need not meet); both
sides read the same files. bodh's side takes `--share` of the Keras side's CPU-minutes (or `--minutes`), pretrains with
`rotation`, names the best block, chosen within the training records, and reads it with a linear probe; then
`finetune --freeze backbone` fits a head on that block, with all labels. With
`--also simclr` another objective gets the same time. Both sides keep to one core (`--core`), so that minutes are
CPU-minutes and another process on the machine's other cores changes little; nothing else is tuned.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np


def images(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [n 32 32 3] and labels [n]."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(data / f"{part}.parquet")
    rows = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["image"].to_pylist()]
    return np.stack(rows), np.asarray(table["label"].to_pylist(), dtype=np.int64)


def keras_side(data: Path, epochs: int) -> dict[str, Any]:
    """Train the recipe and return its figures."""
    import keras
    from keras import layers

    (x, y), (x_test, y_test) = images(data, "train"), images(data, "test")
    start, before = time.monotonic(), time.process_time()
    keras.utils.set_random_seed(0)
    turned = np.concatenate([np.rot90(x, turns, axes=(1, 2)) for turns in range(4)]).astype("float32")
    turns = np.repeat(np.arange(4), len(x))
    network = keras.Sequential([
        keras.Input((32, 32, 3)),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.Flatten(),
        layers.Dense(64, activation="relu"), layers.Dense(4, activation="softmax"),
    ])  # fmt: skip
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = network.fit(turned, turns, epochs=epochs, shuffle=True, verbose=2)
    body = keras.Model(network.inputs, network.layers[-2].output)
    features = body.predict(x.astype("float32"), batch_size=256, verbose=0)
    classifier = keras.Sequential([keras.Input((64,)), layers.Dense(10, activation="softmax")])
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(features, y, epochs=epochs, verbose=2)
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - before
    _, accuracy = classifier.evaluate(body.predict(x_test.astype("float32"), verbose=0), y_test, verbose=0)
    return {
        "accuracy": float(accuracy), "rotation_accuracy": float(history.history["accuracy"][-1]), "seconds": seconds,
        "cpu_seconds": cpu_seconds, "epochs": epochs, "keras": keras.__version__, "backend": keras.backend.backend(),
    }  # fmt: skip


def bodh_side(data: Path, out: Path, objective: str, minutes: float) -> dict[str, Any]:
    """Pretrain for `minutes`, probe every block, and return the figures."""
    import bodh
    from _transfer import accuracy

    start, before = time.monotonic(), time.process_time()
    model = bodh.pretrain(data, objective=objective, minutes=minutes, out=out / objective, device="cpu")
    trained, trained_cpu = time.monotonic() - start, time.process_time() - before
    proof = out / f"{objective}-evaluation"
    bodh.evaluate(
        model, data, protocol="linear", blocks="all", baselines="untrained", remember=True, out=proof, device="cpu"
    )
    found = json.loads((proof / "evaluation.json").read_text(encoding="utf-8"))
    head = bodh.finetune(data, start=model, freeze="backbone", out=out / f"{objective}-head", device="cpu")
    return {
        "objective": objective, "pretraining_seconds": trained, "pretraining_cpu_seconds": trained_cpu,
        "seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - before,
        "epochs": model.manifest.provenance["epochs"], "linear": found["figures"]["linear"],
        "blocks": found["tables"].get("linear_blocks"), "head_on_best_block": accuracy(head, data)[0],
    }  # fmt: skip


def main() -> None:
    """Run one side and print what is known of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=["keras", "bodh"], required=True)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10, help="of the Keras side, for both its trainings")
    parser.add_argument("--share", type=float, default=0.25, help="of the Keras side's CPU-minutes, for bodh")
    parser.add_argument("--core", type=int, default=0, help="the core to keep to")
    parser.add_argument("--minutes", type=float, help="for bodh, instead of a share")
    parser.add_argument("--also", default="", help="further objectives, with commas, the same time each")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {options.core})  # before either framework is imported: both count the cores they may use
    if options.side == "keras":
        found = keras_side(options.data, options.epochs)
        (options.out / "keras.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    else:
        minutes = options.minutes
        if minutes is None:
            keras = json.loads((options.out / "keras.json").read_text(encoding="utf-8"))
            minutes = options.share * keras["cpu_seconds"] / 60
        for objective in ["rotation", *filter(None, options.also.split(","))]:
            found = bodh_side(options.data, options.out, objective, minutes)
            (options.out / f"{objective}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for file in sorted(options.out.glob("*.json")):
        print(f"{file.stem}: {file.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    main()
