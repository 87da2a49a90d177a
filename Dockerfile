# Images of Graftwork. Targets: operator, train-cpu, train-gpu, serve-cpu, serve-gpu, registry. Build one with
#   docker build --target operator -t graftwork-operator:0.1.0 .
# or all that a cluster needs with `sh scripts/images.sh`.
#
# Every target runs as user 1000, needs no writable root file system, holds what uv.lock says and no compiler, and lists
# its contents in /opt/graftwork/sbom.cdx.json (CycloneDX). What Graftwork depends on and Graftwork itself are layers of
# their own: another version of it is a small download. Those that train bring the examples' pictures and backbone.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
# Bytecode is made here: a container whose file system is read-only would compile all it imports at every start.
ENV UV_PROJECT_ENVIRONMENT=/opt/graftwork UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never \
    UV_HTTP_TIMEOUT=300 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# A network that looks into TLS passes its certificate as a secret: --secret id=ca,src=FILE
RUN printf '#!/bin/sh\n[ ! -e /run/ca.crt ] || export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt\nexec "$@"\n' \
    >/usr/local/bin/trusting && chmod 755 /usr/local/bin/trusting
RUN --mount=type=secret,id=ca,target=/run/ca.crt trusting pip install --no-cache-dir "uv>=0.10,<1"
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    UV_PROJECT_ENVIRONMENT=/opt/sbom trusting uv sync --frozen --no-install-project --only-group sbom
# dependencies EXTRA...: what Graftwork with these extras depends on, and the list of it. C++ headers and Clang's library
# serve nobody here.
RUN printf '%s\n' '#!/bin/sh' 'set -e' \
    'for extra; do options="$options --extra $extra"; done' \
    'trusting uv sync --frozen --no-dev --no-install-project $options' \
    'cd /opt/graftwork/lib/python3*/site-packages && rm -rf tensorflow/include clang && cd - >/dev/null' \
    'rm -f /opt/graftwork/.lock' \
    '/opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --of JSON \' \
    '  -o /opt/graftwork/sbom.cdx.json /opt/graftwork' \
    >/usr/local/bin/dependencies && chmod 755 /usr/local/bin/dependencies

FROM build AS wheel
COPY README.md LICENSE ./
COPY platform platform
COPY jobs jobs
COPY serving serving
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    trusting uv build --wheel --out-dir /dist

FROM build AS build-operator
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv dependencies operator

FROM build AS build-train-cpu
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv dependencies train cluster

FROM build AS build-train-gpu
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    dependencies train cluster gpu

FROM build AS build-serve-cpu
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv dependencies serve cluster

FROM build AS build-serve-gpu
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    dependencies serve-gpu cluster

FROM build AS build-registry
WORKDIR /registry
COPY images/registry ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv dependencies

FROM ${PYTHON} AS base
RUN python -m compileall -q -x '/(test|tests|lib2to3|site-packages|dist-packages)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" && useradd --uid 1000 --create-home --home-dir /home/graft graft
ENV PATH=/opt/graftwork/bin:$PATH HOME=/home/graft PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/graft

FROM base AS operator
COPY --from=build-operator /opt/graftwork /opt/graftwork
RUN --mount=from=wheel,source=/dist,target=/dist --mount=from=wheel,source=/usr/local/bin,target=/uv \
    /uv/uv pip install --no-cache --offline --no-deps --compile-bytecode --python /opt/graftwork/bin/python /dist/*.whl
USER 1000:1000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz')"]
CMD ["python", "-m", "graftwork.controller.operator_main"]

FROM base AS registry
COPY --from=build-registry /opt/graftwork /opt/graftwork
USER 1000:1000
EXPOSE 5000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health')"]
CMD ["mlflow", "server", "--host", "127.0.0.1", "--port", "5000"]

FROM base AS ray
# KubeRay's probes and init containers call these.
RUN apt-get update && apt-get install -y --no-install-recommends wget procps && rm -rf /var/lib/apt/lists/*

FROM ray AS train-cpu
COPY --from=build-train-cpu /opt/graftwork /opt/graftwork
COPY examples /opt/graftwork/examples
RUN --mount=from=wheel,source=/dist,target=/dist --mount=from=wheel,source=/usr/local/bin,target=/uv \
    /uv/uv pip install --no-cache --offline --no-deps --compile-bytecode --python /opt/graftwork/bin/python /dist/*.whl
USER 1000:1000
# No health check: a job ends; while it runs, Ray watches its workers and KubeRay its pods.
HEALTHCHECK NONE
CMD ["graft", "--help"]

FROM ray AS train-gpu
COPY --from=build-train-gpu /opt/graftwork /opt/graftwork
COPY examples /opt/graftwork/examples
RUN --mount=from=wheel,source=/dist,target=/dist --mount=from=wheel,source=/usr/local/bin,target=/uv \
    /uv/uv pip install --no-cache --offline --no-deps --compile-bytecode --python /opt/graftwork/bin/python /dist/*.whl
# Asked of NVIDIA's container runtime; CUDA itself stands in the environment.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
HEALTHCHECK NONE
CMD ["graft", "--help"]

FROM ray AS serve-cpu
COPY --from=build-serve-cpu /opt/graftwork /opt/graftwork
RUN --mount=from=wheel,source=/dist,target=/dist --mount=from=wheel,source=/usr/local/bin,target=/uv \
    /uv/uv pip install --no-cache --offline --no-deps --compile-bytecode --python /opt/graftwork/bin/python /dist/*.whl
# What mends the configuration of Ray Serve's HAProxy: bounds for slow clients, no open statistics page.
ENV RAY_SERVE_HAPROXY_BINARY_PATH=/opt/graftwork/bin/graft-haproxy
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --start-period=90s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready')"]
CMD ["graft", "--help"]

FROM ray AS serve-gpu
COPY --from=build-serve-gpu /opt/graftwork /opt/graftwork
RUN --mount=from=wheel,source=/dist,target=/dist --mount=from=wheel,source=/usr/local/bin,target=/uv \
    /uv/uv pip install --no-cache --offline --no-deps --compile-bytecode --python /opt/graftwork/bin/python /dist/*.whl
# As in `serve-cpu`.
ENV RAY_SERVE_HAPROXY_BINARY_PATH=/opt/graftwork/bin/graft-haproxy
# As in `train-gpu`.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --start-period=90s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/ready')"]
CMD ["graft", "--help"]
