"""Hosts: three machines and a client's as network namespaces, an etcd member and a semel node in each of the three.

`namespace.py` makes them, `switch.py` is the wire between them and what can be wrong with it, `network.py` puts both
together; `hosts.py` runs members and nodes there and does harm to them; `scene.py` adds callers and the judge.
"""
