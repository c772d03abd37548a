# Built in one stage, run in another: the second has no compiler, no build tool, no source.

FROM python:3.13-slim AS build
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY pyproject.toml constraints.txt README.md ./
COPY src ./src
COPY migrations ./migrations
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install hatchling build \
 && python -m build --wheel --no-isolation \
 && python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install dist/*.whl

FROM python:3.13-slim
# A fixed number, so that the owner of a volume is the same in every image.
RUN groupadd --gid 10001 log10 \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin log10 \
 && install --directory --owner=log10 --group=log10 --mode=0700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG10_SERVER_HOST=0.0.0.0
# Without DATABASE_URL the SQLite file is made in the working folder.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('LOG10_SERVER_PORT') or '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["log10-server"]
CMD ["serve"]
