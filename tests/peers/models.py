"""How long ONNX Runtime takes for the models that ship, one thread, beside what tract takes.

usage: tests/peers/models.py [--runs 400]

Prints the fastest and the median run of each model in infer/models. Run `cargo bench -p infer` in turn with it, on a machine that does
nothing else: its times hold the preparation of a window and what follows from the outputs as well.
"""
import argparse
import pathlib
import time

import numpy as np
import onnxruntime

MODELS = pathlib.Path(__file__).resolve().parents[2] / "infer" / "models"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    for path in sorted(MODELS.glob("*.onnx")):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        value = rng.standard_normal(given.shape).astype(np.float32)
        times = []
        for _ in range(options.runs):
            start = time.process_time()
            session.run(None, {given.name: value})
            times.append(1e3 * (time.process_time() - start))
        print(f"{path.stem:16} {min(times):6.3f} ms fastest, {np.median(times):6.3f} ms median, onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
