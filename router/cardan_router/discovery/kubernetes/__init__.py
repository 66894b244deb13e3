"""Discovery by the API of a Kubernetes cluster: list, then watch, for ever.

    objects    the fields that are read of the API's objects
    sighting   what an object says of one engine, and by which labels
    pods, slices, pools    what each kind of object says
    frames     bytes of a list or a watch become pages and events
    reflector  the state machine: what to ask next, and what is known
    missing    when to say that nothing is found

These are pure: no clock, no I/O, no randomness of their own. Around them:

    api        requests, by the package `kubernetes` (imported only where a cluster is watched)
    meter      what is counted, and the line in the log when the API is lost or back
    watcher    drives one reflector over the API
    source     the watchers of one configuration; reports whole lists of endpoints
    discovery  the one task that the gateway has of it
"""
