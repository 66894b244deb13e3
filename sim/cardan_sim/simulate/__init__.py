"""The production core under a discrete-event model of engines: `cardan simulate`.

Nothing here decides where a request goes. A `Gateway` owns a real `Fleet` and `Scheduler`; every
request is a real `Exchange`, told what happened and obeyed. What is simulated is the rest: clients
(`workloads`), engines (`engines`), what a gateway can know of them and when (`knowledge`), and the
clock (`kernel`). Same seed, same bytes.
"""
