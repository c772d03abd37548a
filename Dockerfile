# The first stage builds the wheel and the environment. The second one, which runs, has no compiler, build tool or source.

FROM python:3.13-slim AS build
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
COPY migrations ./migrations
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install hatchling \
 && pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install dist/*.whl

FROM python:3.13-slim
# The user has a fixed number, so that the files in a volume have the same owner whichever image is used.
RUN groupadd --gid 10001 log10 \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin log10 \
 && install --directory --owner=log10 --group=log10 --mode=0700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG10_SERVER_HOST=0.0.0.0
# Without DATABASE_URL the server creates its SQLite file in the working folder, which is the volume.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('LOG10_SERVER_PORT') or '8000') + '/healthz', timeout=4)"]
ENTRYPOINT ["log10-server"]
CMD ["serve"]
