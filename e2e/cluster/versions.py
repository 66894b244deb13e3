"""What the cluster for tests is made of, and how its cache folder is called."""

from __future__ import annotations

KUBERNETES = "1.36.3"
ETCD = "3.6.8"
COREDNS = "1.13.1"
HELM = "4.3.1"
# Not part of the cluster, but of what is tested on it. The proxy refuses modules that newer ones
# than this need.
PROMETHEUS = "3.12.0"

# A changed pin is another folder: branches with other pins build beside each other, not over.
STAMP = f"kubernetes-{KUBERNETES}_etcd-{ETCD}_coredns-{COREDNS}_helm-{HELM}"

# Images that only the tests use. No registry knows them; archives of them lie in the cache.
PAUSE_IMAGE = "localhost/pause:1"
BASE_IMAGE = "localhost/python:3.11"
PROMETHEUS_IMAGE = f"localhost/prometheus:{PROMETHEUS}"
