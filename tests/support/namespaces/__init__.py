"""A small docker engine of plain namespaces: enough of `docker` and `docker compose` for `deploy/local`, where no docker engine starts.

It builds the images of `deploy/local/Dockerfile` as overlays of this machine's own root directory, which must be Debian 12, and starts
each container as a process with network, mount, PID, UTS and IPC namespaces of its own. It needs root and a tmpfs.
"""
