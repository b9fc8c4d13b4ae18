// Package faultproxy is an HTTP proxy for tests, in front of a store: it fails on purpose, in the ways that networks and
// stores fail, and counts what it did.
package faultproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
)

// Fault is what is done to a request.
type Fault uint8

// The faults. Those before Swallow keep the request from the store.
const (
	None          Fault = iota
	InternalError       // 500, not forwarded
	SlowDown            // 503 with S3's code SlowDown, not forwarded
	ResetBefore         // the connection is reset, nothing forwarded
	Hang                // no answer until the client leaves, nothing forwarded
	Swallow             // forwarded; the answer is withheld until the client leaves
	ResetAfter          // forwarded; the connection is reset in place of the answer
	Delay               // the connection is reset; forwarded after the next request that is the same has been carried out
)

func (f Fault) String() string {
	return [...]string{"none", "internal error", "slow down", "reset before", "hang", "swallow", "reset after", "delay"}[f]
}

// Plan decides what happens to a request. It is called for one request at a time.
type Plan func(r *http.Request) Fault

// Proxy is a running proxy.
type Proxy struct {
	URL string // to use in the store's place

	target  *url.URL
	server  *httptest.Server
	out     *http.Transport
	quit    chan struct{}
	closing sync.Once

	mu     sync.Mutex
	plan   Plan
	counts map[Fault]int
	late   map[string][]*held
	landed map[int]int
}

// held is a request that was received whole and is forwarded later.
type held struct {
	request *http.Request
	body    []byte
}

// New starts a proxy in front of the server at target. A nil plan does nothing to any request.
func New(target string, plan Plan) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		target: u, out: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}, quit: make(chan struct{}),
		plan: plan, counts: map[Fault]int{}, late: map[string][]*held{}, landed: map[int]int{},
	}
	p.server = httptest.NewServer(p)
	p.URL = p.server.URL
	return p, nil
}

// Close ends all that is under way; requests that are still held back are dropped. A second Close does nothing.
func (p *Proxy) Close() {
	p.closing.Do(func() {
		close(p.quit)
		p.server.Close()
		p.out.CloseIdleConnections()
	})
}

// SetPlan replaces the plan.
func (p *Proxy) SetPlan(plan Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// Counts is how often each fault was done; None counts the requests that were let through.
func (p *Proxy) Counts() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Landed is what the store said to the delayed requests that have been forwarded: how often each status.
func (p *Proxy) Landed() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.landed)
}

// Land forwards all requests that are still held back and returns how many there were.
func (p *Proxy) Land() int {
	p.mu.Lock()
	var all []*held
	for _, key := range slices.Sorted(maps.Keys(p.late)) {
		all = append(all, p.late[key]...)
	}
	clear(p.late)
	p.mu.Unlock()
	p.land(all)
	return len(all)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.decide(r)
	switch fault {
	case InternalError:
		refuse(w, r, http.StatusInternalServerError, "InternalError")
	case SlowDown:
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
	case ResetBefore:
		reset(w)
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body)
		p.untilGone(r)
		reset(w)
	case Delay:
		p.hold(w, r)
	default:
		p.pass(w, r, fault)
	}
}

func (p *Proxy) decide(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault := None
	if p.plan != nil {
		fault = p.plan(r)
	}
	p.counts[fault]++
	return fault
}

// pass forwards a request, and the delayed ones that are like it behind it, before the client hears of either.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, fault Fault) {
	answer, err := p.forward(r, r.Body)
	if err != nil {
		reset(w)
		return
	}
	defer answer.Body.Close()
	p.mu.Lock()
	late := p.late[key(r)]
	delete(p.late, key(r))
	p.mu.Unlock()
	p.land(late)
	switch fault {
	case Swallow:
		p.untilGone(r)
		reset(w)
	case ResetAfter:
		reset(w)
	default:
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	}
}

// hold takes a request whole, and leaves its client without an answer.
func (p *Proxy) hold(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		p.mu.Lock()
		p.late[key(r)] = append(p.late[key(r)], &held{r.Clone(context.Background()), body})
		p.mu.Unlock()
	}
	reset(w)
}

func (p *Proxy) land(late []*held) {
	for _, h := range late {
		status := 0
		if answer, err := p.forward(h.request, bytes.NewReader(h.body)); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			status = answer.StatusCode
		}
		p.mu.Lock()
		p.landed[status]++
		p.mu.Unlock()
	}
}

// key is what makes two requests the same: a second attempt differs from the first in date and signature only.
func key(r *http.Request) string { return r.Method + " " + r.URL.RequestURI() }

// forward sends a request on as it came: the Host that it was signed for, path and query to the byte.
func (p *Proxy) forward(r *http.Request, body io.Reader) (*http.Response, error) {
	out := r.Clone(context.WithoutCancel(r.Context())) // a client that leaves does not undo what it sent
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = p.target.Scheme, p.target.Host
	out.Host = r.Host
	out.Header.Del("Expect") // the body is on its way here already
	out.Body = io.NopCloser(body)
	if r.ContentLength == 0 {
		out.Body = http.NoBody // a reader in its place would be sent in chunks
	}
	return p.out.RoundTrip(out)
}

// untilGone waits for the client to leave, or for the proxy's end. The body has been read.
func (p *Proxy) untilGone(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.quit:
	}
}

// reset breaks the connection off, so that its client sees no orderly end.
func reset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code><Message>on purpose</Message></Error>", code)
	}
}
