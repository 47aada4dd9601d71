# The API, the sweeper and the migrations: everything that needs no torch.
# Pinned by tag: no registry could be asked for digests where this was written. Add `@sha256:...` where you build.
FROM python:3.11.14-slim-bookworm AS build

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY migrations migrations
RUN python -m venv /opt/dapple \
    && /opt/dapple/bin/pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt '.[postgres,s3,celery,otel]'

FROM python:3.11.14-slim-bookworm

RUN groupadd --gid 10001 dapple \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data dapple \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /opt/dapple /opt/dapple
ENV PATH=/opt/dapple/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DAPPLE_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
CMD ["dapple", "serve", "--host", "0.0.0.0"]
