// h2: a server of HTTP/2 without TLS, and clients that have many streams in both
// directions open over one connection each, as with gRPC.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"supervise/integration/testdata/go/prog"
)

var (
	stop        atomic.Bool
	connections atomic.Int64
)

// serve sends each line back while the request goes on.
func serve(w http.ResponseWriter, r *http.Request) {
	prog.Check(r.ProtoMajor == 2, "it speaks %s", r.Proto)
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	prog.Check(flush.Flush() == nil, "flush")
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		fmt.Fprintln(w, lines.Text())
		prog.Check(flush.Flush() == nil, "flush")
	}
}

// stream talks over one request until it is told to stop.
func stream(c *http.Client, url, name string) {
	body, to := io.Pipe()
	resp := prog.Must(c.Post(url+"/"+name, "text/plain", body))
	from := bufio.NewReader(resp.Body)
	n := 0
	for ; !stop.Load() || n <= 3; n++ {
		line := fmt.Sprintf("%s %d %s\n", name, n, strings.Repeat("x", n%5000))
		prog.Must(io.WriteString(to, line))
		got := prog.Must(from.ReadString('\n'))
		prog.Check(got == line, "stream %s: %q after %q", name, got, line)
	}
	to.Close()
	rest := prog.Must(io.ReadAll(from))
	prog.Check(len(rest) == 0 && n > 3, "stream %s: %d lines, then %q", name, n, rest)
}

func main() {
	pid := os.Getpid()
	host := fmt.Sprintf("127.%d.%d.%d", 128|pid>>16&127, pid>>8&255, pid&255)
	listener := prog.Must(net.Listen("tcp", host+":0"))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Handler: http.HandlerFunc(serve), Protocols: &protocols, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}}
	go server.Serve(listener)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	var wg sync.WaitGroup
	for i := range 2 {
		c := &http.Client{Transport: &http.Transport{Protocols: &protocols, DialContext: from.DialContext, MaxConnsPerHost: 1}}
		for s := range 5 {
			wg.Go(func() { stream(c, "http://"+listener.Addr().String(), fmt.Sprintf("%d-%d", i, s)) })
		}
	}
	time.Sleep(200 * time.Millisecond)
	prog.ReadyWait()
	time.Sleep(200 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	prog.Check(connections.Load() == 2, "%d connections", connections.Load())
	prog.OK()
}
