package integration

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// seed makes the tree of a seed that failed again:
//
//	go test ./integration -run TestRandom -seed 4711
var seed = flag.Int64("seed", 0, "the only seed for TestRandom; 0: new ones")

// randomTime is how long TestRandom looks for a seed that fails. The variable
// SUPERVISE_RANDOM gives it another time, such as 1h.
const randomTime = 20 * time.Second

// TestRandom builds trees with random state, ends them after a snapshot and
// compares what comes back. The seed decides on the user and the way, too.
func TestRandom(t *testing.T) {
	if *seed != 0 {
		random(t, *seed)
		return
	}
	long := randomTime
	if v := os.Getenv("SUPERVISE_RANDOM"); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	first := time.Now().UnixNano() / 1000
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); n++ {
		random(t, first+int64(n))
	}
	t.Logf("%d trees", n)
}

// random tries one seed.
func random(t *testing.T, seed int64) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("again: go test ./integration -run TestRandom -seed %d", seed)
			}
		})
		u := users()
		mode := modes[1:][seed/2%int64(len(modes)-1)]
		prog := one("random").with(strconv.FormatInt(seed, 10)).alone()
		t.Logf("%s, %s", u[seed%int64(len(u))].name, mode.name)
		mode.run(newPlace(t, u[seed%int64(len(u))]), prog)
	})
}
