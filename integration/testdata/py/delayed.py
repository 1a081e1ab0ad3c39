"""Delays snapshots while its state makes no sense: no copy ever sees half a step."""
import supervise
from prog import *

left = right = 0


@supervise.after_restart
def whole():
    check(left == right, f"half a step: {left} and {right}")
    say(f"whole {supervise.generation()}")


say("ready")
while not went():
    with supervise.no_checkpoint():
        left += 1
        time.sleep(0.3)
        right += 1
    time.sleep(0.01)
ok()
