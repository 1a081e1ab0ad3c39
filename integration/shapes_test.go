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
//	go test ./integration -run TestShapes -seed 4711
var seed = flag.Int64("seed", 0, "the only seed for TestShapes; 0: many")

// shapesTime is how long TestShapes goes on, always with the same seeds. The
// variable SUPERVISE_SEEDS gives it another time, such as 1h, and new seeds.
const shapesTime = 20 * time.Second

// TestShapes builds trees of random shape, as TestRandomTree does with random
// state: processes that share descriptors and directories, lead sessions and
// groups, are stopped or dead, with threads and attributes of their own. The
// seed decides on the user and the mode, too.
func TestShapes(t *testing.T) {
	if *seed != 0 {
		shape(t, *seed)
		return
	}
	long, first := shapesTime, int64(1)
	if v := os.Getenv("SUPERVISE_SEEDS"); v != "" {
		var err error
		if long, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
		first = time.Now().UnixNano() / 1000
	}
	n := 0
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); n++ {
		shape(t, first+int64(n))
	}
	t.Logf("%d trees", n)
}

// shape tries one seed.
func shape(t *testing.T, seed int64) {
	t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("again: go test ./integration -run TestShapes -seed %d", seed)
			}
		})
		u := users()
		mode := modes[1:][seed/2%int64(len(modes)-1)]
		prog := one("shapes").with(strconv.FormatInt(seed, 10)).alone()
		t.Logf("%s, %s", u[seed%int64(len(u))].name, mode.name)
		mode.run(newPlace(t, u[seed%int64(len(u))]), prog)
	})
}
