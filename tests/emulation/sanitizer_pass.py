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
                emulation.vote_patches([key, key[1:]], np.arange(8)[::-1].copy(), np.arange(18, 26), 3, 5, 9)
                masks, position = [np.arange(20) % 3 > 0, np.ones(15, bool)], np.array([8, 0, 19])
                emulation.refine_matches(key, [key, key[1:]], position, masks, np.array([1, 34, 20]), 3, 5)
                pixels = key.reshape(-1, channels)
                emulation.texture_loss(pixels, pixels, generator.integers(0, 3, 42).astype(np.float32))
            for width in (11, 16):
                emulation.total_variation(features(3, 9, width, dtype=dtype), generator.random((9, width)) < 0.3)
        for variant, dtype, channels, size in (
            ("float", "float32", 5, 1),
            ("float", "float32", 6, 7),
            ("float", "float16", 16, 3),
            ("tensor_core", "float16", 16, 3),
            ("tensor_core", "bfloat16", 48, 3),
            ("tensor_core_split", "float32", 19, 3),
        ):
            query = features(2, 19, 9, channels, dtype=dtype)
            keys = [features(1, 8, 13, channels, dtype=dtype), features(2, 9, 7, channels, dtype=dtype)]
            counts = [(height - size + 1) * (width - size + 1) for height, width in ((8, 13), (9, 7))]
            masks = [np.arange(counts[0])[None] % 3 != 0, np.zeros((2, counts[1]), bool)]
            position = np.flatnonzero(generator.random(2 * (20 - size) * (10 - size)) < 0.4)
            index, _, _ = emulation.match_patches(query, keys, position, masks, size, variant)
            assert np.all(masks[0][0][index])


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    if len(sys.argv) > 2:
        import neuralpatch_emulation

        getattr(neuralpatch_emulation.faulty, sys.argv[2])()
    else:
        run_all()
    print("finished")
