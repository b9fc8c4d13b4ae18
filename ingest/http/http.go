// Package http is the door for records posted over HTTP/1.1 and HTTP/2: a body is lines, or one record, and goes into
// the log as one block or not at all.
package http

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/ingest"
)

type source struct {
	cfg     Config
	deps    ingest.Deps
	token   [sha256.Size]byte // of the token: digests compare in constant time whatever the lengths
	batches sync.Pool         // of *hydrant.Batch

	opened   chan struct{} // closed when the door opens for the first time
	mu       sync.Mutex
	to       ingest.Appender // nil: the door is closed
	inFlight int
	left     hydrant.Bell // rings when inFlight falls to 0
	failing  bool         // the last append ended with an error that was logged
}

func open(c Config, d ingest.Deps) (ingest.Source, error) {
	s := &source{cfg: c, deps: d, token: sha256.Sum256([]byte(c.Token.Value())), opened: make(chan struct{})}
	s.batches.New = func() any { return new(hydrant.Batch) }
	return s, d.HTTP.Handle(c.Listen, c.Path, string(c.TLS.CertFile), string(c.TLS.KeyFile), s)
}

// Finite implements ingest.Source.
func (s *source) Finite() bool { return false }

// String implements ingest.Source.
func (s *source) String() string {
	if s.cfg.TLS.CertFile != "" {
		return "https " + s.cfg.Listen + s.cfg.Path
	}
	return "http " + s.cfg.Listen + s.cfg.Path
}

// Run implements ingest.Source: the door is open as long as it runs. The listener is the mux's.
func (s *source) Run(ctx context.Context, stop <-chan struct{}, to ingest.Appender) error {
	s.admit(to)
	close(s.opened)
	err := s.deps.Clock.Wait(ctx, hydrant.Never, stop)
	s.admit(nil)
	for err == nil {
		left := s.left.Listen()
		if s.idle() {
			return nil
		}
		err = s.deps.Clock.Wait(ctx, hydrant.Never, left)
	}
	return err
}

func (s *source) admit(to ingest.Appender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = to
}

func (s *source) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight == 0
}

// starting is how long a request waits for the door to open: the listener is there a moment earlier.
const starting = time.Second

// enter counts a request in and returns where its records go; nil when the door is closed. Who enters leaves.
func (s *source) enter(ctx context.Context) ingest.Appender {
	_ = s.deps.Clock.Wait(ctx, s.deps.Clock.Mono()+starting, s.opened) // or not: to tells
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to != nil {
		s.inFlight++
	}
	return s.to
}

func (s *source) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if s.inFlight == 0 {
		s.left.Ring()
	}
}

// ServeHTTP takes one body in. The answer comes after the append returned (I1).
func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hydrant"`)
		refuse(http.StatusUnauthorized, "the bearer token is missing or wrong").write(w)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		refuse(http.StatusMethodNotAllowed, r.Method+" is not for this path: POST records to it").write(w)
		return
	}
	to := s.enter(r.Context())
	if to == nil {
		closed.write(w)
		return
	}
	defer s.leave()
	n, err := s.take(w, r, to)
	if err != nil {
		answerTo(err).write(w)
		return
	}
	accept(w, n)
}

func (s *source) authorized(r *http.Request) bool {
	if s.cfg.Token.Empty() {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

const recordBytes = int64(unsafe.Sizeof(hydrant.Record{}))

// take reads, decodes, cuts and appends the body and returns the number of its records.
func (s *source) take(w http.ResponseWriter, r *http.Request, to ingest.Appender) (records int, err error) {
	lease := &lease{memory: s.deps.Memory}
	defer lease.give()
	body, err := readBody(w, r, int64(s.cfg.MaxBody), lease)
	if err != nil || len(body) == 0 {
		return 0, err
	}
	batch, _ := s.batches.Get().(*hydrant.Batch)
	defer s.recycle(batch)
	if err := index(batch, body, wholeBody(r), lease); err != nil {
		return 0, err
	}
	_, err = to.Append(r.Context(), &buffer.Write{Batch: batch})
	s.edge(err)
	return batch.Len(), err
}

// wholeBody tells whether the body is one record rather than lines.
func wholeBody(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/octet-stream"
}

// index makes records of body. The batch is only an index here: its records point into body, which outlives the append.
func index(batch *hydrant.Batch, body []byte, whole bool, lease *lease) error {
	n := int64(1)
	if !whole {
		n = countLines(body)
	}
	if n*recordBytes > lease.memory.Total() {
		return refuse(http.StatusRequestEntityTooLarge, "too many lines in one body for the memory of hydrant: send fewer at once")
	}
	if err := lease.grow(n * recordBytes); err != nil {
		return err
	}
	if whole {
		batch.View(hydrant.Record{Data: body})
		return nil
	}
	for len(body) > 0 {
		line, _, used := ingest.Line(body, len(body), true)
		batch.View(hydrant.Record{Data: line})
		body = body[used:]
	}
	return nil
}

func (s *source) recycle(batch *hydrant.Batch) {
	if batch.Len() > 4096 {
		return // a large index is for the collector: the pool is not in the budget
	}
	batch.Reset()
	s.batches.Put(batch)
}

// edge logs the first append that fails for another reason than a full log or a client that left, and the recovery.
func (s *source) edge(err error) {
	bad := err != nil && !errors.Is(err, buffer.ErrFull) && !errors.Is(err, buffer.ErrTooLarge) &&
		!errors.Is(err, buffer.ErrClosed) && !errors.Is(err, context.Canceled)
	s.mu.Lock()
	changed := bad != s.failing && (bad || err == nil)
	if changed {
		s.failing = bad
	}
	s.mu.Unlock()
	switch {
	case changed && bad:
		s.deps.Log.Error("records are not taken in", "source", s.String(), "err", err)
	case changed:
		s.deps.Log.Info("records are taken in again", "source", s.String())
	}
}
