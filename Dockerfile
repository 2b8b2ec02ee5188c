# The image of a service: docker build --build-arg EXTRA=tae --tag kino-tae:0.3.0 .
# EXTRA is the service's name; `all` makes one image that serves as any of them, and that trains. `train` makes the image
# of training jobs, which publish with the commit that they are of:
# --build-arg GIT_REVISION=$(git describe --always --dirty --abbrev=12). Versions are those of constraints.txt.
#
# OMIT leaves out what it names of the installed packages, such as what only a GPU would load:
# --build-arg OMIT="triton/_C triton/backends nvidia/cudnn/lib/libcudnn_*"; a name that is not there ends the build.

FROM python:3.11-slim-bookworm AS installer
ARG UV_VERSION=0.13.9
RUN python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore uv==${UV_VERSION}
RUN uv venv --python python3 /venv
ENV VIRTUAL_ENV=/venv UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /src

FROM installer AS dependencies
ARG EXTRA
ARG OMIT=""
COPY pyproject.toml constraints.txt ./
RUN test -n "${EXTRA}" && uv pip install --requirements pyproject.toml --extra "${EXTRA}" --extra s3 --constraints constraints.txt
RUN cd /venv/lib/python3.*/site-packages && for path in ${OMIT}; do rm -r ${path} || exit 1; done
# What draws the training's clips links against OpenGL and calls none of it: its libraries alone, without drivers.
RUN mkdir -p /libraries/usr/lib && cd /tmp && if ls /venv/lib/python3.*/site-packages/skia.*; then apt-get update && \
    apt-get download libegl1 libgl1 libglvnd0 libglx0 libx11-6 libxcb1 libxau6 libxdmcp6 libbsd0 libmd0 libexpat1 && \
    for file in *.deb; do dpkg --extract "${file}" /libraries; done; fi

FROM installer AS project
COPY pyproject.toml ./
COPY kino kino
COPY services services
COPY training training
RUN uv pip install --no-deps --target /usr/lib/kino .

# The dependencies are a layer of their own, so that a new version of the project is a few megabytes.
FROM python:3.11-slim-bookworm AS runtime
COPY --from=dependencies /libraries/usr/lib /usr/lib
COPY --from=dependencies /venv /venv

FROM runtime
COPY models /usr/share/kino/models
COPY --from=project /usr/lib/kino /usr/lib/kino
ENV PATH=/venv/bin:/usr/lib/kino/bin:${PATH} PYTHONPATH=/usr/lib/kino KINO_MODELS=/usr/share/kino/models
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG GIT_REVISION=""
ENV KINO_GIT_REVISION=${GIT_REVISION}
WORKDIR /usr/share/kino
USER 10001:10001
EXPOSE 7000 9090
ENTRYPOINT ["python", "-m", "services"]
