package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Store is an S3 of its own, on the other side of a network that loses questions and answers. It outlives every daemon.
type Store struct {
	Faults  NetFaults
	Absent  AbsentMode
	Denied  string        // answers 403 AccessDenied, 404 NoSuchBucket, 400 ExpiredToken to everything; "" to nothing
	Timeout time.Duration // after which a request that hangs is reset, if its context does not end first
	Late    time.Duration // how long a delayed request can take, at the most
	// Blank tells whether an object only claims its name: it may be replaced.
	Blank func(key string, data []byte) bool

	Objects   map[string]*Object // by bucket/key
	Conflicts []string           // what should never happen: an object replaced by other bytes
	Requests  int

	w       *World
	uploads map[string]*upload
	askers  map[string][]string // names of the machines that ever sent an object, by bucket/key
	ids     int
}

// AbsentMode says what the store makes of If-None-Match: *.
type AbsentMode int

// The kinds of stores there are.
const (
	Honours AbsentMode = iota
	Ignores
	Rejects // 501 NotImplemented
)

// NetFaults says how many of a million requests fail, and how.
type NetFaults struct {
	Refuse   int // the connection is refused
	Err5xx   int // 503 and nothing done
	Late5xx  int // 500 and done all the same
	Swallow  int // done, and the connection is reset before the answer
	Partial  int // the connection is reset within the body
	Hang     int // nothing is done and no answer comes
	Delay    int // no answer comes, and it is done after the client has given up
	Conflict int // 409, nothing done
}

// Object is what lies under a key.
type Object struct {
	Bucket, Key string
	Data        []byte
	Header      http.Header // what it was put with
	Sum         string      // checksum header and value, as the store answers them
	Puts        int
}

type upload struct {
	bucket, key string
	header      http.Header
	parts       map[int]part
}

type part struct {
	data []byte
	sum  []byte
}

// NewStore makes an empty store that has every bucket.
func (w *World) NewStore() *Store {
	return &Store{w: w, Timeout: time.Minute, Late: 110 * time.Second, Objects: map[string]*Object{}, uploads: map[string]*upload{}, askers: map[string][]string{}}
}

// Asked tells whether a machine ever tried to put an object.
func (s *Store) Asked(machine, key string) bool { return slices.Contains(s.askers[key], machine) }

// Inherit makes what one machine has asked for the doing of another as well: its copy.
func (s *Store) Inherit(from, to string) {
	for key, names := range s.askers {
		if slices.Contains(names, from) {
			s.askers[key] = append(names, to)
		}
	}
}

// Keys returns bucket/key of all objects, in order.
func (s *Store) Keys() []string {
	keys := make([]string, 0, len(s.Objects))
	for k := range s.Objects {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Client is the network between a process and the store: a sinks.Doer.
func (s *Store) Client(p *Process) Client { return Client{s, p} }

// Client sends the requests of one process.
type Client struct {
	s *Store
	p *Process
}

var errReset = errors.New("connection reset by peer")

// Do implements sinks.Doer.
func (c Client) Do(r *http.Request) (*http.Response, error) {
	s, w := c.s, c.s.w
	c.p.enter("http", r.Method+" "+r.URL.Path+" "+query(r), 0, 0)
	s.Requests++
	var body []byte
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
		body = b
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		if key := strings.TrimPrefix(r.URL.Path, "/"); !s.Asked(c.p.Name, key) {
			s.askers[key] = append(s.askers[key], c.p.Name)
		}
	}
	w.note("body", "", int64(len(body)), int64(crc32.Checksum(body, castagnoli)))
	ctx := r.Context()
	if err := c.pause(ctx, w.between(0, 50*time.Millisecond)); err != nil {
		return nil, err
	}
	fault := s.Faults.draw(w)
	w.note("network", fault, 0, 0)
	switch fault {
	case "refuse":
		return nil, errors.New("connection refused")
	case "5xx":
		return answer(r, 503, apiError("SlowDown")), nil
	case "partial":
		return nil, errReset
	case "conflict":
		if r.Header.Get("If-None-Match") != "" {
			return answer(r, 409, apiError("ConditionalRequestConflict")), nil
		}
	case "hang":
		return nil, c.hang(ctx)
	case "delay":
		w.At(w.between(0, s.Late), func() { s.serve(r, body) })
		return nil, c.hang(ctx)
	}
	resp := s.serve(r, body)
	w.note("answer", "", int64(resp.StatusCode), 0)
	switch fault {
	case "late5xx":
		return answer(r, 500, apiError("InternalError")), nil
	case "swallow":
		if w.Rand.IntN(2) == 0 {
			return nil, c.hang(ctx)
		}
		return nil, errReset
	}
	if err := c.pause(ctx, w.between(0, 50*time.Millisecond)); err != nil {
		return nil, err
	}
	return resp, nil
}

func query(r *http.Request) string {
	q := r.URL.Query()
	q.Del("x-id")
	return q.Encode()
}

// pause is the time that bytes take on the wire.
func (c Client) pause(ctx context.Context, d time.Duration) error {
	err := c.p.Wait(ctx, c.p.World.now-c.p.born+d)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && ctx.Err() == nil {
		return nil // its deadline came: that is what it waited for
	}
	return err
}

// hang waits for an answer that does not come.
func (c Client) hang(ctx context.Context) error {
	if err := c.pause(ctx, c.s.Timeout); err != nil {
		return err
	}
	return errReset
}

func (f NetFaults) draw(w *World) string {
	x := w.Rand.IntN(1_000_000)
	for _, one := range []struct {
		n    int
		name string
	}{
		{f.Refuse, "refuse"}, {f.Err5xx, "5xx"}, {f.Late5xx, "late5xx"}, {f.Swallow, "swallow"}, {f.Partial, "partial"},
		{f.Hang, "hang"}, {f.Delay, "delay"}, {f.Conflict, "conflict"},
	} {
		if x < one.n {
			return one.name
		}
		x -= one.n
	}
	return ""
}

// put stores an object, unless it should be absent and is not.
func (s *Store) put(o *Object, absent bool) (status int, body string) {
	name := o.Bucket + "/" + o.Key
	old := s.Objects[name]
	if old != nil && absent {
		return 412, apiError("PreconditionFailed")
	}
	if old != nil {
		if !bytes.Equal(old.Data, o.Data) && (s.Blank == nil || !s.Blank(o.Key, old.Data)) {
			s.Conflicts = append(s.Conflicts, fmt.Sprintf("%s: %d bytes were replaced by %d others", name, len(old.Data), len(o.Data)))
		}
		o.Puts = old.Puts
	}
	o.Puts++
	s.Objects[name] = o
	s.w.note("stored", name, int64(len(o.Data)), int64(o.Puts))
	return 200, ""
}
