"""The CUDA kernels, emulated on the CPU."""
