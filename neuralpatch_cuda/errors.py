"""Errors that a user can cause and mend. Each message is one sentence: what was wrong and what to do."""


class NeuralPatchError(Exception):
    """Base class of the library's own errors."""


class ImageError(NeuralPatchError, ValueError):
    """The image cannot be used: its shape, type, size or values."""


class MaskError(NeuralPatchError, ValueError):
    """The mask cannot be used: its shape or type, or it leaves nothing to fill or nothing to copy from."""


class WeightsError(NeuralPatchError):
    """A network's weights are missing, damaged or of another network."""


class NetworkError(NeuralPatchError):
    """A content network of another maker cannot be imported, fails, or returns something else than an image."""


class DeviceError(NeuralPatchError, RuntimeError):
    """The device asked for is not there."""


class DataError(NeuralPatchError, ValueError):
    """Training data cannot be used."""


class ConfigError(NeuralPatchError):
    """An option is unknown or has a value that it cannot have.

    Not a ValueError: pydantic would turn that back into its own error of several lines.
    """


class OutputError(NeuralPatchError, OSError):
    """The result cannot be written where, or in the format, that was asked for."""
