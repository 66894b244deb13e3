"""The operator: a fleet of engines that holds its promise at the least cost.

A shell over the core, like the gateway: it observes a cluster, has the core decide, and carries out
what was decided. What a user asks for is a custom resource, whose definition is in `crds`.
"""
