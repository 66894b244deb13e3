"""Real Kubernetes clusters for tests, without Docker and without a registry.

Two flavours behind one interface (`e2e.cluster.interface.Cluster`), as session-scoped fixtures:

    @pytest.mark.cluster
    def test_something(api: Cluster) -> None:        # etcd, API server, controllers: 3 s
        api.kubectl("create", "namespace", "a")

    @pytest.mark.cluster
    def test_else(cluster: Cluster) -> None:         # and a node on which pods run: 10 s
        cluster.load_image(archive)
        cluster.helm("install", ...)

`api` listens on the loopback and needs no root. Nothing runs in it: a test writes the status of its
pods (`kubectl patch --subresource=status`), at 127.0.1.x where engines of its own may listen.
EndpointSlices refuse loopback addresses, so slices with engines that answer want `cluster`. A pod
with a `nodeName` terminates like a real one: it stays until it is deleted with `--force`; no
controller minds that its node does not exist.

`cluster` lives in namespaces of its own (network, mount, PID): `cluster.run("curl", ...)` and
`cluster.inside(argv)` put a command where pods and Services are reachable. Its kubeconfig works
from both sides. Both flavours can stop, start and freeze the API server and compact etcd.

Every session has clusters of its own, under a random name or CARDAN_CLUSTER_NAME; nothing of them
outlives their last holder (see `keeper`). Binaries are found by `find`, in this order: an
explicitly given cluster (CARDAN_KUBECONFIG), KUBEBUILDER_ASSETS, the cache of `make cluster`.
"""
