"""Adapt a model to five labels a class, and predict."""

import sys
from pathlib import Path

from sklearn.datasets import load_digits

import bodh

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/few-labels")
small = {"modality.size": 8, "modality.views.flip": 0.0}
model = bodh.pretrain("sklearn:digits", out=out / "pretrain", epochs=1, **small)
classifier = bodh.finetune("sklearn:digits", start=model, labels_per_class=5, out=out / "finetune")

images = (load_digits().images[:3] * 255 / 16).astype("uint8")
for record in classifier.predict(images):
    print(record["id"], record["class"], f"{record['probability']:.2f}")
