package netstate

import (
	"slices"
	"testing"
)

func TestBoundNames(t *testing.T) {
	const list = `Num       RefCount Protocol Flags    Type St Inode Path
00000000fe4ef647: 00000002 00000000 00010000 0001 01 29417544 /tmp/a b/redis
000000006a16ed68: 00000003 00000000 00000000 0005 03 32370438
000000006a16ed69: 00000003 00000000 00000000 0001 03 32370439 /tmp/connected
000000006a16ed70: 00000003 00000000 00000000 0002 01 32370440 relative
000000006a16ed71: 00000003 00000000 00000000 0002 01 32370441 @abstract
000000006a16ed72: 00000003 00000000 00000000 0002 01 32370442
`
	if got := boundNames(list); !slices.Equal(got, []string{"/tmp/a b/redis", "relative"}) {
		t.Errorf("names %q", got)
	}
}
