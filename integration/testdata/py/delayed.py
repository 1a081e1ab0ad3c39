"""Delays snapshots while its state makes no sense: no copy goes on in the middle of a step."""
import supervise
from prog import *

left = right = last = 0
say("ready")
while not went():
    with supervise.no_checkpoint():
        begun = supervise.generation()
        left += 1
        time.sleep(0.3)
        right += 1
        ended = supervise.generation()
    check(begun == ended and left == right, f"a step begun in generation {begun} ended in {ended}")
    if ended != last:
        last = ended
        say(f"whole {ended}")
    time.sleep(0.01)
ok()
