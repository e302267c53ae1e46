"""Export to ONNX, and run the file with onnxruntime alone: it takes raw uint8 pixels."""

import sys
from pathlib import Path

import onnxruntime
from sklearn.datasets import load_digits

import bodh

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/run-without-torch")
model = bodh.pretrain("sklearn:digits", out=out / "run", epochs=1, **{"modality.size": 8})
exported = bodh.export(model, format="onnx", capability="embed", out=out / "digits.onnx")
for parity in exported.parity:
    print(f"{parity.output}: largest difference {parity.largest_difference:.1e} of {parity.tolerance:.0e} allowed")

session = onnxruntime.InferenceSession(str(exported.out))
images = (load_digits().images[:4] * 255 / 16).astype("uint8")[..., None]
(name,) = [tensor.name for tensor in session.get_inputs()]
(vectors,) = session.run(["embedding"], {name: images})
print("vectors:", vectors.shape)
