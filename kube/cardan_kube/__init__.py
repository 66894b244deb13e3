"""The API of a Kubernetes cluster, as everything here that talks to one does it.

    objects    what every object has, and what the API says
    frames     bytes of a list or a watch become pages and events
    reflector  the state machine of list and watch: what to ask next, and what is known

These are pure: no clock, no I/O, no randomness of their own. Around them:

    api        requests, by the package `kubernetes` (imported only where a cluster is asked)
    link       is the API there? what a process lends its watchers
    watcher    drives one reflector over the API
    writing    writes as values: apply, patch, scale, create, replace, delete
    events     what is told of an object, each thing once in a while
    kinds      which path a kind has, and whether it can be scaled

What is looked for in a cluster, and what is changed in it, is a matter of who asks.
"""
