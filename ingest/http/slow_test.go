package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant"
)

// pipes is a listener whose connections are pipes, so that a bubble's clock rules them.
type pipes struct {
	conns  chan net.Conn
	closed sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	p.closed.Do(func() { close(p.conns) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// A client may be slow, but not for ever; and what it only promises takes no memory.
func TestSlowClients(t *testing.T) {
	for _, c := range []struct {
		name   string
		pause  time.Duration // between pieces of 16 KiB
		pieces int
		want   string
	}{
		{"one that sends 16 KiB a second", time.Second, 100, "HTTP/1.1 200 OK"},
		{"one that sends 16 KiB in 5 seconds", 5 * time.Second, 100, "HTTP/1.1 408 Request Timeout"},
		{"one that falls silent", time.Hour, 2, "HTTP/1.1 408 Request Timeout"},
	} {
		synctest.Test(t, func(t *testing.T) {
			memory := hydrant.NewMemory(8 << 20)
			s, log := handler(t, Config{MaxBody: 8 << 20}, memory), &recorder{}
			s.admit(log)
			close(s.opened)
			server, in := &http.Server{Handler: s}, &pipes{conns: make(chan net.Conn)}
			var wg sync.WaitGroup
			wg.Go(func() { _ = server.Serve(in) })
			here, there := net.Pipe()
			in.conns <- there
			wg.Go(func() {
				piece := strings.Repeat("x", 16<<10)
				_, _ = fmt.Fprintf(here, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.pieces*len(piece))
				for i := range c.pieces {
					if _, err := io.WriteString(here, piece); err != nil {
						return
					}
					if used := memory.Used(); used > int64(4*(i+1)*len(piece)+128<<10) {
						t.Errorf("%s: %d pieces sent, %d bytes of memory taken", c.name, i+1, used)
					}
					_ = s.deps.Clock.Wait(t.Context(), s.deps.Clock.Mono()+c.pause)
				}
			})
			line, err := bufio.NewReader(here).ReadString('\n')
			if strings.TrimSpace(line) != c.want {
				t.Errorf("%s: %q, %v; want %s", c.name, line, err, c.want)
			}
			_ = here.Close()
			_ = server.Close()
			wg.Wait()
			if log.writes > 0 != strings.Contains(c.want, "200") {
				t.Errorf("%s: %d appends", c.name, log.writes)
			}
		})
	}
}
