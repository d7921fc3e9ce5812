"""replicator copies every new or changed file from one backend to every frontend."""

__version__ = "0.1.0"
