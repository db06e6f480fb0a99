"""Images and masks: files, arrays, tensors, and the composite of the result with the photograph."""
