# docker build -t neuralpatch .                                                              for processors
# docker build -t neuralpatch:cuda --build-arg TARGET=cuda .                                 for NVIDIA GPUs
# docker run --rm -v "$PWD":/data neuralpatch inpaint photo.jpg mask.png -o filled.png       add --gpus all for GPUs
ARG TARGET=cpu

FROM python:3.12-slim AS cpu-tools
ENV TORCH_INDEX=https://download.pytorch.org/whl/cpu NEURALPATCH_CUDA=0
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS cuda-tools
ENV TORCH_INDEX=https://download.pytorch.org/whl/cu130 NEURALPATCH_CUDA=1
RUN apt-get update && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM ${TARGET}-tools AS build
RUN python3 -m venv /opt/neuralpatch
ENV PATH=/opt/neuralpatch/bin:$PATH
RUN pip install --no-cache-dir "setuptools>=77" ninja && \
    pip install --no-cache-dir --index-url $TORCH_INDEX torch==2.13.0
COPY . /src
RUN pip install --no-cache-dir --no-build-isolation "/src[ray]"

FROM python:3.12-slim AS cpu-base
FROM nvidia/cuda:13.0.2-base-ubuntu24.04 AS cuda-base
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*

FROM ${TARGET}-base
COPY --from=build /opt/neuralpatch /opt/neuralpatch
ENV PATH=/opt/neuralpatch/bin:$PATH
RUN useradd --create-home --uid 10001 neuralpatch
USER neuralpatch
WORKDIR /data
ENTRYPOINT ["neuralpatch"]
CMD ["--help"]
