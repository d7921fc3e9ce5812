"""The replication engine: from file system events to acknowledged changes on every frontend.

It imports only `ports` and the packages below them; `app` passes the implementations.
"""
