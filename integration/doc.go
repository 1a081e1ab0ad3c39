// Package integration holds the tests that really take snapshots of real
// programs and restart them, through nothing but the command line.
//
// A program under testdata sets itself up, says "ready", waits for a file to
// appear, checks itself and says "ok"; prog.h is its contract. One table
// (programs_test.go) runs every program in every mode, as root and as an
// ordinary user: TestTree/eventfd/user/kill. What the kernel shows of the tree
// is compared before and after (state_test.go, compare_test.go).
//
//	go test ./integration -run 'TestTree/anon/'     one program
//	SUPERVISE_KILLS=300 go test ./integration -run TestKilled
//	go test ./integration -run '^$' -bench .
package integration
