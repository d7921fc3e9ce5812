# replicator as it is installed with pip, and the benchmarks beside it.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
# The programs that replicator is compared with.
ARG PEERS=""
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-client python3 python3-venv ${PEERS} \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/replicator \
 && mkdir -p /var/www/upload
ENV PATH=/opt/replicator/bin:${PATH}
WORKDIR /srv/replicator
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY replicator replicator
RUN pip install --no-cache-dir --constraint constraints.txt .
COPY bench bench
COPY bench/docker/replicator.toml /etc/replicator/
COPY bench/docker/backend-entry.sh /usr/local/bin/
ENTRYPOINT ["sh", "/usr/local/bin/backend-entry.sh"]
CMD ["replicator", "serve", "--config", "/etc/replicator/replicator.toml"]
