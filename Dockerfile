# syntax=docker/dockerfile:1
# Images of Graftwork. Targets: operator, train-cpu, serve-cpu. Build one with
#   docker build --target operator -t graftwork-operator:0.1.0 .
# Every target runs as user 1000, needs no writable root file system, and holds what uv.lock says and no compiler.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/graftwork UV_LINK_MODE=copy UV_COMPILE_BYTECODE=0 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# A network that looks into TLS passes its certificate as a secret: --secret id=ca,src=FILE
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=$([ -e /run/ca.crt ] && echo /run/ca.crt) pip install --no-cache-dir "uv>=0.9,<1"
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY platform platform
COPY jobs jobs
COPY serving serving

FROM build AS build-operator
RUN --mount=type=secret,id=ca,target=/run/ca.crt SSL_CERT_FILE=$([ -e /run/ca.crt ] && echo /run/ca.crt) \
    uv sync --frozen --no-dev --no-editable --no-cache --extra operator

FROM build AS build-train
RUN --mount=type=secret,id=ca,target=/run/ca.crt SSL_CERT_FILE=$([ -e /run/ca.crt ] && echo /run/ca.crt) \
    uv sync --frozen --no-dev --no-editable --no-cache --extra train --extra cluster

FROM build AS build-serve
RUN --mount=type=secret,id=ca,target=/run/ca.crt SSL_CERT_FILE=$([ -e /run/ca.crt ] && echo /run/ca.crt) \
    uv sync --frozen --no-dev --no-editable --no-cache --extra serve --extra cluster

FROM ${PYTHON} AS base
RUN useradd --uid 1000 --create-home --home-dir /home/graft graft
ENV PATH=/opt/graftwork/bin:$PATH HOME=/home/graft PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/graft

FROM base AS operator
COPY --from=build-operator /opt/graftwork /opt/graftwork
USER 1000:1000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz')"]
CMD ["python", "-m", "graftwork.controller.operator_main"]

FROM base AS ray
# KubeRay's probes and init containers call these.
RUN apt-get update && apt-get install -y --no-install-recommends wget procps && rm -rf /var/lib/apt/lists/*

FROM ray AS train-cpu
COPY --from=build-train /opt/graftwork /opt/graftwork
USER 1000:1000
CMD ["graft", "--help"]

FROM ray AS serve-cpu
COPY --from=build-serve /opt/graftwork /opt/graftwork
USER 1000:1000
CMD ["graft", "--help"]
