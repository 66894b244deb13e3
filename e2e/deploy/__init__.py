"""What is deployed, on a real cluster: install, upgrade, rollouts, killed pods.

`images` builds the images once for a state of the sources and keeps them as archives; `release` is
the chart installed under a name; `load` is the clients, run inside the cluster's network;
`changes` are what is done to a release under load, and `python -m e2e.deploy.rollouts` measures
each of them and writes docs/reference/rollouts.md.

Fixtures (e2e/deploy/conftest.py): `tags`, the images on the node under two tags, so that an upgrade
has somewhere to go.
"""
