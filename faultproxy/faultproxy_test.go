package faultproxy

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend remembers the bodies that it was sent, in order.
type backend struct {
	mu     sync.Mutex
	bodies []string
	hosts  []string
	got    chan struct{} // closed at the first request
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.bodies) == 0 {
		close(b.got)
	}
	b.bodies = append(b.bodies, string(body))
	b.hosts = append(b.hosts, r.Host)
	w.Header().Set("X-Answer", r.URL.RequestURI())
	w.WriteHeader(http.StatusCreated)
}

func (b *backend) list() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.bodies, " ")
}

func start(t *testing.T, plan Plan) (*Proxy, *backend, *http.Client) {
	t.Helper()
	b := &backend{got: make(chan struct{})}
	server := httptest.NewServer(b)
	p, err := New(server.URL, plan)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() { p.Close(); server.Close() })
	return p, b, client
}

func send(t *testing.T, client *http.Client, ctx context.Context, url, body string) (int, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault   Fault
		status  int    // 0: the connection breaks
		arrived string // at the server, after a second request "b" without fault
	}{
		{None, 201, "a b"},
		{InternalError, 500, "b"},
		{SlowDown, 503, "b"},
		{ResetBefore, 0, "b"},
		{ResetAfter, 0, "a b"},
		{Delay, 0, "b a"},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			p, b, client := start(t, Script(c.fault))
			status, err := send(t, client, t.Context(), p.URL+"/x?y=1", "a")
			if (err != nil) != (c.status == 0) || status != c.status {
				t.Errorf("first: %d %v, want %d", status, err, c.status)
			}
			if status, err := send(t, client, t.Context(), p.URL+"/x?y=1", "b"); err != nil || status != 201 {
				t.Errorf("second: %d %v, want 201", status, err)
			}
			if got := b.list(); got != c.arrived {
				t.Errorf("arrived: %q, want %q", got, c.arrived)
			}
			want := map[Fault]int{None: 1}
			want[c.fault]++
			if got := p.Counts(); !maps.Equal(got, want) {
				t.Errorf("counts: %v, want %v", got, want)
			}
		})
	}
}

func TestSwallowedAnswersComeNeverThoughTheRequestArrives(t *testing.T) {
	p, b, client := start(t, Script(Swallow))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-b.got
		cancel()
	}()
	if status, err := send(t, client, ctx, p.URL, "a"); err == nil {
		t.Errorf("an answer of %d", status)
	}
	if got := b.list(); got != "a" {
		t.Errorf("arrived: %q", got)
	}
}

func TestCloseEndsHangingRequests(t *testing.T) {
	b := httptest.NewServer(http.NotFoundHandler())
	defer b.Close()
	arrived := make(chan struct{})
	p, err := New(b.URL, func(*http.Request) Fault { close(arrived); return Hang })
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := send(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, t.Context(), p.URL, "a")
		ended <- err
	}()
	<-arrived
	p.Close()
	if err := <-ended; err == nil {
		t.Error("a request that hangs was answered")
	}
}

func TestDelayedRequestsLandWhenTold(t *testing.T) {
	p, b, client := start(t, Script(Delay, Delay))
	_, _ = send(t, client, t.Context(), p.URL+"/1", "a")
	_, _ = send(t, client, t.Context(), p.URL+"/2", "b")
	if n := p.Land(); n != 2 || b.list() != "a b" {
		t.Errorf("%d landed, %q arrived", n, b.list())
	}
	if got := p.Landed(); got[201] != 2 {
		t.Errorf("answers to delayed requests: %v", got)
	}
}

func TestHostAndAnswerPassUnchanged(t *testing.T) {
	p, b, client := start(t, nil)
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/a%2Fb/c+d?e=%20f", nil)
	r.Host = "bucket.example.com"
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := answer.Header.Get("X-Answer"); got != "/a%2Fb/c+d?e=%20f" {
		t.Errorf("the server saw %q", got)
	}
	if b.hosts[0] != "bucket.example.com" {
		t.Errorf("the server saw host %q", b.hosts[0])
	}
}

func TestPlans(t *testing.T) {
	get, put := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRequest(http.MethodPut, "/", nil)
	only := Only(http.MethodPut, Script(SlowDown))
	if f := only(get); f != None {
		t.Errorf("a GET met %v", f)
	}
	if f := only(put); f != SlowDown {
		t.Errorf("a PUT met %v", f)
	}
	a, b := Random(7, 0.5, SlowDown, Hang), Random(7, 0.5, SlowDown, Hang)
	seen := map[Fault]int{}
	for range 1000 {
		f := a(put)
		seen[f]++
		if f != b(put) {
			t.Fatal("one seed gave two rows of faults")
		}
	}
	if seen[None] < 400 || seen[None] > 600 || seen[SlowDown] < 200 || seen[Hang] < 200 {
		t.Errorf("of 1000 requests: %v", seen)
	}
}
