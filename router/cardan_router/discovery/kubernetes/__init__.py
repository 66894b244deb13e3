"""Discovery by the API of a Kubernetes cluster: list, then watch, for ever (`cardan_kube`).

    objects    the fields that are read of pods, slices and pools
    sighting   what an object says of one engine, and by which labels
    pods, slices, pools    what each kind of object says
    missing    when to say that nothing is found

These are pure: no clock, no I/O, no randomness of their own. Around them:

    meter      what is counted
    source     the watchers of one configuration; reports whole lists of endpoints
    overlays   what an operator says of routing; `cardan_router.overlays` follows it
    discovery  the one task that the gateway has of it
"""
