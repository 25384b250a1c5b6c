"""The processes of a cluster on one machine: etcd members and nodes, kept running and ended in order.

Knows programs, ports and folders; knows nothing of calls, and asks etcd and nodes only over HTTP.
"""
