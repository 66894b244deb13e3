"""What holds for every test: laws are tried on the same examples each time, however slow the
machine is; programs take signals, however the tests were started; files enough may be open.

`pytest --hypothesis-profile=explore` tries other examples, many more of them.
"""

from __future__ import annotations

import resource
import signal

from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no fault of the code: nothing here is timed.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("same", UNTIMED, derandomize=True)
settings.register_profile("explore", UNTIMED, max_examples=2000, print_blob=True)
settings.load_profile("same")

# What `nohup`, or a shell's `&`, has this process ignore, the programs that it starts ignore too.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Hundreds of streams at once are thousands of sockets in one process; a login often has 1,024.
FILES = 8192
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if soft != resource.RLIM_INFINITY and soft < FILES:
    allowed = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
