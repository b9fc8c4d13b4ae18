package proctest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// store is as much of S3 as single PUTs and HEADs need, in this process, so that tests see every byte that was sent and
// decide what becomes of it. versitygw is the judge of the protocol; this is the judge of what hydrant sends.
type store struct {
	*httptest.Server
	plain bool // knows no If-None-Match, as some S3-compatible stores do

	mu          sync.Mutex
	objects     map[string][]byte // by bucket/key
	puts        []put
	overwritten []string                // names of which the bytes changed
	held        chan struct{}           // non-nil: PUTs hang until it is closed, and store nothing
	holding     int                     // how many hang now
	status      int                     // != 0: what every PUT is answered with
	sink        func(r io.Reader) error // non-nil: takes the bytes in place of objects
}

// put is one attempt to store something, whatever became of it.
type put struct {
	name   string // bucket/key
	sum    [32]byte
	size   int
	stored bool
}

func newStore(t testing.TB) *store {
	s := &store{objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.release()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// hold makes every PUT from now on hang after its last byte has arrived, until release; nothing of it is stored.
func (s *store) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = make(chan struct{})
}

// release ends hold. The PUTs that hang get no answer: their connections are cut.
func (s *store) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

// answer makes every PUT fail with a status; 0 ends that.
func (s *store) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// into hands the bytes of every PUT from now on to sink in place of keeping them.
func (s *store) into(sink func(io.Reader) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = sink
}

// pour hands a body to the sink, if there is one. Of the object only the name is kept.
func (s *store) pour(w http.ResponseWriter, r *http.Request, name string) bool {
	s.mu.Lock()
	sink := s.sink
	_, there := s.objects[name]
	s.mu.Unlock()
	switch {
	case sink == nil:
		return false
	case there:
		io.Copy(io.Discard, r.Body)
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return true
	}
	if err := sink(r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.objects[name] = nil
	s.mu.Unlock()
	w.Header().Set("ETag", etag(nil))
	return true
}

// inFlight is how many PUTs hang.
func (s *store) inFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holding
}

// attempts are all PUTs so far, in the order of their last byte.
func (s *store) attempts() []put {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.puts)
}

// listing is what lies in one bucket, by key.
func (s *store) listing(bucket string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string][]byte{}
	for name, body := range s.objects {
		if key, ok := strings.CutPrefix(name, bucket+"/"); ok {
			found[key] = body
		}
	}
	return maps.Clone(found)
}

// clobbered are the objects of which the bytes were replaced by others.
func (s *store) clobbered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.overwritten)
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case r.Method == http.MethodHead:
		s.mu.Lock()
		body, ok := s.objects[name]
		s.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodPut && r.URL.RawQuery == "" || r.URL.Query().Get("x-id") == "PutObject":
		s.put(w, r, name)
	default:
		fail(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func (s *store) put(w http.ResponseWriter, r *http.Request, name string) {
	if s.pour(w, r, name) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	s.mu.Lock()
	at := len(s.puts)
	s.puts = append(s.puts, put{name: name, sum: sha256.Sum256(body), size: len(body)})
	if held := s.held; held != nil {
		s.holding++
		s.mu.Unlock()
		select {
		case <-held:
		case <-r.Context().Done():
		}
		s.mu.Lock()
		s.holding--
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	defer s.mu.Unlock()
	if s.status != 0 {
		fail(w, s.status, "SlowDown")
		return
	}
	old, there := s.objects[name]
	if there && !s.plain && r.Header.Get("If-None-Match") == "*" {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	if there && !bytes.Equal(old, body) {
		s.overwritten = append(s.overwritten, name)
	}
	s.objects[name] = body
	s.puts[at].stored = true
	w.Header().Set("ETag", etag(body))
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}
