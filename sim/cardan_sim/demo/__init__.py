"""`cardan demo`: a whole fleet on this machine, the same real workload under several policies.

Nothing is pretended but the GPU: real processes, real HTTP through the real gateway, a slice of a
published trace. `fleet` starts and ends the processes, `children` looks after each of them,
`setting` holds the numbers, `story` says in words what the figures show, `cut` made the slice.
"""
