package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// served is a mux at work, with one door that answers when it is released.
type served struct {
	*mux
	t                *testing.T
	entered, release chan struct{}
	stop             chan struct{}
	cancel           context.CancelFunc
	ended            chan struct{}
	mu               sync.Mutex
	counted          []int
}

func serve(t *testing.T) *served {
	s := &served{t: t, entered: make(chan struct{}), release: make(chan struct{}), stop: make(chan struct{}), ended: make(chan struct{})}
	s.mux = &mux{log: quiet(), count: func(_, _ string, status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counted = append(s.counted, status)
	}}
	err := s.Handle("127.0.0.1:0", "/door", "", "", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.entered <- struct{}{}
		<-s.release
		w.WriteHeader(http.StatusAccepted)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.bind(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	var g group
	g.Go("mux", func() {
		defer close(s.ended)
		s.serve(ctx, s.stop, hydrant.NewSystemClock(), g.Go)
	})
	t.Cleanup(func() {
		cancel()
		g.Wait()
	})
	return s
}

// post returns the status, 0 without an answer.
func (s *served) post(path string) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post("http://"+s.listeners[0].socket.Addr().String()+path, "", strings.NewReader("a"))
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode
}

func TestMuxFindsTheDoorByItsPath(t *testing.T) {
	s := serve(t)
	close(s.release)
	go func() { <-s.entered }()
	for path, want := range map[string]int{"/door": 202, "/door/": 404, "/": 404, "/dooR": 404} {
		if status := s.post(path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counted) != 4 {
		t.Errorf("answers counted: %v, want 4", s.counted)
	}
}

func TestMuxFinishesWhatIsUnderWay(t *testing.T) {
	s := serve(t)
	answered := make(chan int, 1)
	go func() { answered <- s.post("/door") }()
	<-s.entered
	close(s.stop)
	if !until(func() bool { return s.post("/door") == 0 }) {
		t.Error("a mux that stops still takes connections")
	}
	close(s.release)
	if status := <-answered; status != 202 {
		t.Errorf("the request under way got %d", status)
	}
	<-s.ended
}

func TestMuxCutsWhatDoesNotEnd(t *testing.T) {
	s := serve(t)
	answered := make(chan int, 1)
	go func() { answered <- s.post("/door") }()
	<-s.entered
	close(s.stop)
	s.cancel()
	<-s.ended
	close(s.release)
	if status := <-answered; status != 0 {
		t.Errorf("the request got %d, want its connection cut", status)
	}
}

func TestMuxRefusesClaimsThatClash(t *testing.T) {
	m := &mux{log: quiet()}
	nothing := http.NotFoundHandler()
	for _, c := range []struct{ listen, path, cert, want string }{
		{"a:1", "/x", "", ""},
		{"a:1", "/y", "", ""},
		{"a:2", "/x", "c", ""},
		{"a:1", "/x", "", "belongs to another source"},
		{"a:1", "/z", "c", "other tls files"},
	} {
		err := m.Handle(c.listen, c.path, c.cert, "", nothing)
		if (err == nil) != (c.want == "") || !strings.Contains(text(err), c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestMuxBindsAllOrNothing(t *testing.T) {
	taken := serve(t).listeners[0].socket.Addr().String()
	m := &mux{log: quiet(), count: func(string, string, int) {}}
	for _, listen := range []string{"127.0.0.1:0", taken} {
		if err := m.Handle(listen, "/", "", "", http.NotFoundHandler()); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.bind(); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("bound to %s, which is taken: %v", taken, err)
	}
	if _, err := m.listeners[0].socket.Accept(); err == nil {
		t.Error("the other address was not given back")
	}
}

func TestMuxNeedsItsCertificate(t *testing.T) {
	m := &mux{log: quiet(), count: func(string, string, int) {}}
	if err := m.Handle("127.0.0.1:0", "/", "nothing.pem", "nothing.key", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	if err := m.bind(); err == nil || !strings.Contains(err.Error(), "127.0.0.1:0: tls: open nothing.pem") {
		t.Errorf("without a certificate: %v", err)
	}
}

// One address speaks HTTP/1.1 and HTTP/2, in the clear and over TLS.
func TestMuxSpeaksBothVersions(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	m := &mux{log: quiet(), count: func(string, string, int) {}}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	for _, files := range [][2]string{{}, {certFile, keyFile}} {
		listen := "127.0.0.1:0"
		if files[0] != "" {
			listen = "localhost:0"
		}
		if err := m.Handle(listen, "/", files[0], files[1], echo); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.bind(); err != nil {
		t.Fatal(err)
	}
	var g group
	stop := make(chan struct{})
	g.Go("mux", func() { m.serve(context.Background(), stop, hydrant.NewSystemClock(), g.Go) })
	defer g.Wait()
	defer close(stop)
	for _, c := range []struct {
		listener int
		scheme   string
		set      func(*http.Protocols)
		want     string
	}{
		{0, "http", func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"},
		{0, "http", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, "HTTP/2.0"},
		{1, "https", func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"},
		{1, "https", func(p *http.Protocols) { p.SetHTTP2(true) }, "HTTP/2.0"},
	} {
		protocols := new(http.Protocols)
		c.set(protocols)
		through := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
		answer, err := (&http.Client{Transport: through}).Get(c.scheme + "://" + m.listeners[c.listener].socket.Addr().String())
		if err != nil {
			t.Errorf("%s over %s: %v", c.want, c.scheme, err)
			continue
		}
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != c.want {
			t.Errorf("%s over %s: %q, %v", c.want, c.scheme, got, err)
		}
		_ = answer.Body.Close()
		through.CloseIdleConnections()
	}
}

// certificate makes one for localhost.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := os.WriteFile(certFile, certText, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certText)
	return certFile, keyFile, pool
}

// A panic costs its request and is told; the next request is served.
func TestMuxSurvivesABug(t *testing.T) {
	var log bytes.Buffer
	var counted []int
	m := &mux{log: slog.New(slog.NewTextHandler(&log, nil)), count: func(_, _ string, status int) { counted = append(counted, status) }}
	h := m.routes(&listener{addr: "a", paths: map[string]http.Handler{"/": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh") })}})
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("it panics with %v", p)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	}()
	if len(counted) != 1 || counted[0] != 500 || !strings.Contains(log.String(), "BUG: panic in a door") {
		t.Errorf("counted %v, said %s", counted, log.String())
	}
}
