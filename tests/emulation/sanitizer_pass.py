"""Runs every kernel once or twice, for the sanitizers: python sanitizer_pass.py FOLDER [FAULT]

FOLDER holds the module. With the name of a faulty kernel, runs only that one.
"""

from __future__ import annotations

import sys

import numpy as np


def run_all() -> None:
    import neuralpatch_emulation as emulation

    generator = np.random.default_rng(0)

    def features(*shape: int, dtype: str = "float16") -> np.ndarray:
        values = generator.standard_normal(shape).astype(np.float32)
        if dtype == "bfloat16":
            return (values.view(np.uint32) >> 16).astype(np.uint16)
        return values.astype(dtype)

    for order in (0, 5):
        emulation.set_thread_order(order)
        for dtype in ("float32", "float16", "bfloat16"):
            for shape, size, stride in (((2, 3, 7, 9), 3, 2), ((1, 16, 4, 5), 3, 1)):
                patches = emulation.extract_patches(features(*shape, dtype=dtype), size, stride)
                emulation.extract_patches_backward(patches, *shape[1:], size, stride)
            for channels in (5, 16):
                key = features(6, 7, channels, dtype=dtype)
                emulation.vote_patches(key, np.arange(8)[::-1].copy(), np.arange(8), 3, 5, 9)
                pixels = key.reshape(-1, channels)
                emulation.texture_loss(pixels, pixels, generator.integers(0, 3, 42).astype(np.float32))
            emulation.total_variation(features(3, 9, 11, dtype=dtype), generator.random((9, 11)) < 0.3)
        for capability, dtype, channels, size in (
            (75, "float32", 5, 1),
            (75, "float32", 6, 7),
            (75, "float16", 16, 3),
            (80, "float16", 16, 3),
            (80, "bfloat16", 48, 3),
        ):
            emulation.set_compute_capability(capability)
            query, key = features(19, 9, channels, dtype=dtype), features(8, 13, channels, dtype=dtype)
            queries, keys = (20 - size) * (10 - size), (9 - size) * (14 - size)
            position = np.flatnonzero(generator.random(queries) < 0.7)
            index, _ = emulation.match_patches(query, key, position, np.arange(keys) % 3 != 0, size)
            assert np.all(index % 3 != 0)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    if len(sys.argv) > 2:
        import neuralpatch_emulation

        getattr(neuralpatch_emulation.faulty, sys.argv[2])()
    else:
        run_all()
    print("finished")
