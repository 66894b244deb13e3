"""`make demo-k8s`: everything on a Kubernetes cluster, from nothing to a fleet that sizes itself.

What a new operator would do and look at, done and shown, with the time that each step takes. It
ends with status 0 only if what it showed is true: engines found, every request answered.

    where    the cluster: kind where Docker is, one node of our own elsewhere, or a given one
    steps    what is done, one function each, in order
    story    steps that know each other's results, told to a person
    hot      the last of them: a hot prefix gets more engines, and then the load falls
    fleet    what is done to the fleet, and what is asked of it
    load     a pod that sends a workload through the Service
    counters the gateways' own metrics, as Prometheus would read them
    forward  `kubectl port-forward`, and a browser's look at what is behind it
    tell     lines on the terminal
"""
