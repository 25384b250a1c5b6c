"""Servers and clients that others wrote, as they are published, around a cluster of three nodes whose leader is killed.

`package.json` and the dev dependencies pin them; `setting.py` starts the servers behind a cluster; `clients.py` leads
the clients, those in TypeScript by way of `client.mjs`. docs/SERVERS.md says what is tried with which versions.
"""
