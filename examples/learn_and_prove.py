"""Learn from unlabelled images, then ask whether it helped."""

import sys

import bodh

out = sys.argv[1] if len(sys.argv) > 1 else "runs/learn-and-prove"
model = bodh.pretrain("sklearn:digits", out=out, epochs=1, **{"modality.size": 8, "modality.views.flip": 0.0})
verdict = bodh.evaluate(model, "sklearn:digits", protocol="knn")

print(model)
for row in verdict.tables["knn"]:
    print(row)
print(f"Did it help? {verdict.helped}: {verdict.sentence}")
