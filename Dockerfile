# `causvid serve` in a container: not root, and nothing to write to but /tmp.
#
#   docker build -t causvid .                                           for processors
#   docker build -t causvid:cuda --build-arg CAUSVID_DEVICE=cuda .      for NVIDIA GPUs
#   docker run --rm -p 127.0.0.1:8765:8765 -e CAUSVID_TOKEN=secret causvid
#
# The first build brings a CPU build of torch if pip's sources have one. If they have none, name an index
# that does: --build-arg CAUSVID_TORCH_INDEX=... (PyTorch's own, see pytorch.org), or the large default
# build is taken. The GPU build needs no CUDA in the base image: torch brings its libraries, and the
# driver comes from the host (NVIDIA Container Toolkit, `docker run --gpus all`).
#
# The image holds GPL-licensed x264 and x265 inside PyAV; keep that in mind before you publish it.

ARG BASE=python:3.12-slim
FROM ${BASE}

ARG CAUSVID_DEVICE=cpu
ARG CAUSVID_TORCH_INDEX=
ARG EXTRAS=serve,wan

ENV VENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/causvid

# What is large comes first, and again only when what it depends on changes: an empty package stands in.
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY constraints constraints
COPY scripts/setup.sh scripts/setup.sh
RUN mkdir -p src/causvid && echo '__version__ = "0"' > src/causvid/__init__.py \
    && CAUSVID_DEVICE="$CAUSVID_DEVICE" CAUSVID_TORCH_INDEX="$CAUSVID_TORCH_INDEX" bash scripts/setup.sh "$EXTRAS"
COPY src src
RUN python -m compileall -q src && useradd --system --uid 10001 --user-group --no-create-home causvid

ENV HOME=/tmp \
    HF_HOME=/models/hub \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER causvid
WORKDIR /models
VOLUME /models
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
ENTRYPOINT ["causvid"]
CMD ["serve", "tiny", "--host", "0.0.0.0", "--port", "8765"]
