"""What is deployed, on a real cluster: install, upgrade, rollouts, killed pods.

`release` is the chart installed under a name; `load` is the clients, run inside the cluster's
network; `changes` are what is done to a release under load, and `python -m e2e.deploy.rollouts`
measures each of them and writes docs/reference/rollouts.md.
"""
