# A worker. TORCH_INDEX is the URL of a package index with another build of torch, as PyTorch's installation guide names them
# for each CUDA version and for CPUs alone; without it, pip's own index decides.
# Pinned by tag: no registry could be asked for digests where this was written. Add `@sha256:...` where you build.
FROM python:3.11.14-slim-bookworm AS build

ARG TORCH_INDEX=
WORKDIR /src
COPY constraints.txt ./
# Apart from the code: a change of it need not install gigabytes again.
RUN python -m venv /opt/dapple \
    && /opt/dapple/bin/pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY migrations migrations
RUN /opt/dapple/bin/pip install --no-cache-dir --disable-pip-version-check \
        -c constraints.txt '.[worker,postgres,s3,celery,otel]'

FROM python:3.11.14-slim-bookworm

RUN groupadd --gid 10001 dapple \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data dapple \
    && install -d -o 10001 -g 10001 /data
COPY --from=build /opt/dapple /opt/dapple
ENV PATH=/opt/dapple/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DAPPLE_DATA_DIR=/data HOME=/data
WORKDIR /data
USER 10001:10001
EXPOSE 9100
CMD ["dapple", "work"]
