// web: a server of net/http, whose listener is one of MPTCP where the kernel has
// it, and clients that keep their connections.
package main

import (
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

// page is what the server gives for a path.
func page(path string) string { return strings.Repeat("page "+path+" ", 1+len(path)*1000) }

// client asks for one page after the other, over one connection.
func client(host, name, url string) (pages int) {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	c := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, DialContext: from.DialContext}, Timeout: time.Minute}
	for ; !stop.Load() || pages <= 3; pages++ {
		path := fmt.Sprintf("/%s/%d", name, pages)
		resp := prog.Must(c.Post(url+path, "text/plain", strings.NewReader(page(path))))
		body := prog.Must(io.ReadAll(resp.Body))
		resp.Body.Close()
		prog.Check(string(body) == page(path), "%s: %d bytes", path, len(body))
	}
	return pages
}

func serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	prog.Check(err == nil && string(body) == page(r.URL.Path), "%s: got %d bytes, %v", r.URL.Path, len(body), err)
	io.WriteString(w, page(r.URL.Path))
}

func main() {
	pid := os.Getpid()
	host := fmt.Sprintf("127.%d.%d.%d", 128|pid>>16&127, pid>>8&255, pid&255)
	listener := prog.Must(net.Listen("tcp", host+":0"))
	server := http.Server{Handler: http.HandlerFunc(serve), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}}
	go server.Serve(listener)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			n := client(host, strings.Repeat("x", 1+10*i), "http://"+listener.Addr().String())
			prog.Check(n > 3, "client %d: only %d pages", i, n)
		})
	}
	time.Sleep(200 * time.Millisecond)
	prog.ReadyWait()
	time.Sleep(200 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	prog.Check(connections.Load() == 4, "%d connections", connections.Load())
	prog.OK()
}
