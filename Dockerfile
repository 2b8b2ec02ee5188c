# The image of a service: docker build --build-arg EXTRA=tae --tag kino-tae:0.1.0 .
# EXTRA is the service's name; `train` makes the image of training jobs, which publish with the commit that they are of:
# --build-arg GIT_REVISION=$(git describe --always --dirty --abbrev=12). Versions are those of constraints.txt.

FROM python:3.11-slim-bookworm AS build
ARG UV_VERSION=0.13.9
RUN python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore uv==${UV_VERSION}
RUN uv venv --python python3 /venv
ENV VIRTUAL_ENV=/venv UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src
ARG EXTRA
# The dependencies are a layer of their own, built again only when they change.
COPY pyproject.toml constraints.txt ./
RUN test -n "${EXTRA}" && uv pip install --requirements pyproject.toml --extra "${EXTRA}" --extra s3 --constraints constraints.txt
COPY kino kino
COPY services services
COPY training training
RUN uv pip install --no-deps .

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
COPY models /usr/share/kino/models
ENV PATH=/venv/bin:${PATH} KINO_MODELS=/usr/share/kino/models PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG GIT_REVISION=""
ENV KINO_GIT_REVISION=${GIT_REVISION}
WORKDIR /usr/share/kino
USER 10001:10001
EXPOSE 7000 9090
ENTRYPOINT ["python", "-m", "services"]
