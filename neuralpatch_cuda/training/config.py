"""The options of training: one validated model, shared by the Python API and the command line."""

from __future__ import annotations

from typing import Literal

from neuralpatch_cuda.config import COUNT, NUMBER, Options, option

POSITIVE = "a whole number of at least 1"
RATE = "a number above 0"


class TrainConfig(Options):
    """Everything that decides the outcome of a training run, besides the data.

    The weights of the losses that the authors used are `l2=0.999, adversarial=0.001, overlap_weight=10`.
    """

    architecture: Literal["content", "context-encoder"] = option(
        "content",
        "content or context-encoder",
        "content: the library's own network, any hole. context-encoder: the paper's, 71 M parameters.",
    )
    samples: int = option(160_000, POSITIVE, "Photographs seen in all, repeats included.", ge=1)
    batch_size: int = option(32, POSITIVE, "Photographs per step, over all processes.", ge=1)
    learning_rate: float | None = option(
        None,
        f"{RATE}, or None",
        "Peak of the generator's cosine schedule; by default 2e-3 where it learns by Muon, the content architecture "
        "without a discriminator, and 3e-4 where it does by Adam.",
        gt=0,
    )
    discriminator_rate: float = option(1e-3, RATE, "The same for the discriminator, which learns by Adam.", gt=0)
    l2: float = option(1.0, NUMBER, "Weight of the squared error.", ge=0)
    log_l2: float = option(
        0.0,
        NUMBER,
        "Weight of the logarithm of the squared error; 0.02 is about as heavy as 1 of the error itself.",
        ge=0,
    )
    l1: float = option(0.0, NUMBER, "Weight of the absolute error.", ge=0)
    adversarial: float = option(0.0, NUMBER, "Weight of the discriminator's verdict; 0: no discriminator.", ge=0)
    gradient_penalty: float = option(0.01, NUMBER, "Weight of the penalty on the discriminator's gradient.", ge=0)
    noise: float | None = option(
        None,
        f"{NUMBER}, or None",
        "Standard deviation of the noise that the content architecture sees in the hole; by default 0.5 with a "
        "discriminator, for texture to be made of, and otherwise 0.",
        ge=0,
    )
    feature_matching: float = option(
        0.0, NUMBER, "Weight of the distance in the discriminator's features; needs an adversarial weight.", ge=0
    )
    perceptual: float = option(0.0, NUMBER, "Weight of the distance in VGG-16's features.", ge=0)
    overlap: int = option(4, COUNT, "Width in pixels of the band along the hole's edge that counts more.", ge=0)
    overlap_weight: float = option(1.0, NUMBER, "How often that band counts in the squared error.", ge=0)
    ema_decay: float = option(
        0.999,
        "a number from 0 to 1",
        "Decay per step of the running average of the weights; the average is what is validated and saved.",
        ge=0,
        le=1,
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "auto, fp32 or bf16", "Arithmetic; auto is bf16 where the device is fast at it, else fp32."
    )
    seed: int = option(0, COUNT, "Seed of weights, crops and holes.", ge=0)
    workers: int = option(1, COUNT, "Processes that decode photographs; 0: none beside the training itself.", ge=0)
    checkpoint_steps: int = option(500, POSITIVE, "Steps between two checkpoints.", ge=1)
    validation_steps: int = option(1000, POSITIVE, "Steps between two validations.", ge=1)
    validation_photos: int = option(
        256, POSITIVE, "Held-out photographs that a validation uses; the last one uses all.", ge=1
    )
