# What a frontend has anyway: sshd and python3; nothing of ours.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
# What peers need on the receiving side.
ARG PEERS=""
# The package makes host keys when it is installed: they would be the same on every frontend.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server python3 ${PEERS} \
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
 && mkdir -p /run/sshd /var/www
COPY bench/docker/frontend-entry.sh /usr/local/bin/
ENTRYPOINT ["sh", "/usr/local/bin/frontend-entry.sh"]
CMD ["/usr/sbin/sshd", "-D", "-e", "-o", "PasswordAuthentication=no"]
