"""`make demo-k8s`: everything on a Kubernetes cluster, from nothing to a rollout under load.

What a new operator would do and look at, done and shown, with the time that each step takes. It
ends with status 0 only if what it showed is true: engines found, every request answered.

    where    the cluster: kind where Docker is, one node of our own elsewhere, or a given one
    steps    what is done, one function each, in order
    story    steps that know each other's results, told to a person
    load     a pod that sends a real workload through the Service
    counters the gateways' own metrics, as Prometheus would read them
    forward  `kubectl port-forward`, and a browser's look at what is behind it
    tell     lines on the terminal
"""
