"""A fluid fleet for scaling decisions: closed loops of plant and controller, days in seconds.

The plant knows queues, caches, cold starts, drains and late metrics, not requests. What decides is
the operator's own `cardan.scaling.decide`, or a published autoscaler to compare it with.
"""
