package delivery

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is the machine's file system without its syncs: what they are for is the simulation's to prove.
type quick struct{ hydrant.OS }

func (q quick) Open(name string, flag int) (hydrant.File, error) {
	f, err := q.OS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

type quickFile struct{ hydrant.File }

func (quickFile) Sync(hydrant.Point) error { return nil }

// tenRecords is the size of a batch of ten records of 100 bytes.
const tenRecords = 10 * (100 + perRecord)

// rig is one delivery on a real log, with targets that the test controls. Its tests run in a synctest bubble, so that
// an hour of backoff costs nothing.
type rig struct {
	t      *testing.T
	dir    string
	log    *buffer.Disk
	target *target
	errs   *target
	lines  *lines
	o      Options

	d      *Delivery
	cancel context.CancelFunc
	drain  chan struct{}
	done   chan error
}

// inRig runs f with a fresh rig, and checks at its end that every record is somewhere exactly once.
func inRig(t *testing.T, change func(o *Options), f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: t.TempDir(), lines: &lines{}}
		r.target, r.errs = newTarget(), newTarget()
		r.o = Options{
			Pipeline: "app", Destination: "archive", Sink: r.target, Errors: r.errs,
			FS: quick{}, Clock: hydrant.NewSystemClock(), Rand: rand.Reader, Memory: hydrant.NewMemory(64 << 20),
			Logger: slog.New(slog.NewTextHandler(r.lines, nil)), Go: func(_ string, f func()) { go f() },
			Dir: filepath.Join(r.dir, "spool", "archive"), Batch: Batch{Size: tenRecords, Interval: time.Second}, Concurrency: 1,
		}
		if change != nil {
			change(&r.o)
		}
		r.openLog()
		f(r)
		r.closeLog()
	})
}

func (r *rig) openLog() {
	r.t.Helper()
	log, _, err := buffer.Open(buffer.Options{FS: quick{}, Clock: r.o.Clock, Rand: rand.Reader, Dir: filepath.Join(r.dir, "streams", "app"), Name: "app"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.log, r.o.Log = log, log
}

func (r *rig) closeLog() {
	r.t.Helper()
	if err := r.log.Close(); err != nil {
		r.t.Error(err)
	}
}

// append puts records into the log, in one block.
func (r *rig) append(data ...string) {
	r.t.Helper()
	var b hydrant.Batch
	for _, s := range data {
		b.Append(hydrant.Record{Data: []byte(s)})
	}
	if _, err := r.log.Append(context.Background(), &buffer.Write{Batch: &b}); err != nil {
		r.t.Fatal(err)
	}
}

// numbered are n records of size bytes.
func numbered(n, size int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%0*d", size, i))
	}
	return all
}

func (r *rig) start() {
	r.t.Helper()
	d, err := Open(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.d, r.cancel, r.drain, r.done = d, cancel, make(chan struct{}), make(chan error, 1)
	go func() { r.done <- d.Run(ctx, r.drain) }()
}

// drained runs a delivery to the end of the log.
func (r *rig) drained() {
	r.t.Helper()
	r.start()
	close(r.drain)
	if err := <-r.done; err != nil {
		r.t.Fatalf("drain: %v", err)
	}
	r.cancel()
}

// kill ends the delivery as a hard stop does.
func (r *rig) kill() {
	r.cancel()
	<-r.done
}

// restart is a hard stop and a new process on the same files.
func (r *rig) restart() {
	r.t.Helper()
	r.kill()
	r.closeLog()
	r.openLog()
	r.start()
}

// pass lets time go by, as far as the bubble's clock is concerned.
func (r *rig) pass(d time.Duration) {
	r.o.Clock.Wait(nil, r.o.Clock.Mono()+d)
	synctest.Wait()
}

func (r *rig) status() Status {
	r.t.Helper()
	s, err := r.d.Status()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// addsUp checks promise 7 and the records against what the targets hold.
func (r *rig) addsUp(want Status) {
	r.t.Helper()
	s := r.status()
	var sum buffer.Totals
	for _, t := range []buffer.Totals{s.Delivered, s.Refused, s.Dropped, s.Damaged, s.Pending} {
		sum.Add(t)
	}
	if sum != s.Appended {
		r.t.Errorf("appended %v, accounted for %v: %+v", s.Appended, sum, s)
	}
	got := Status{Ledger: s.Ledger, Appended: s.Appended, Pending: s.Pending}
	for _, c := range []struct {
		name      string
		got, want buffer.Totals
	}{
		{"appended", got.Appended, want.Appended}, {"delivered", got.Delivered, want.Delivered}, {"refused", got.Refused, want.Refused},
		{"dropped", got.Dropped, want.Dropped}, {"damaged", got.Damaged, want.Damaged}, {"pending", got.Pending, want.Pending},
	} {
		if c.got.Records != c.want.Records {
			r.t.Errorf("%s: %d records, want %d", c.name, c.got.Records, c.want.Records)
		}
	}
}

func records(n int64) buffer.Totals { return buffer.Totals{Records: n} }

// target is a sink that keeps what it is sent, as a store would. The test scripts its failures.
type target struct {
	mu       sync.Mutex
	objects  map[string]string
	order    []string
	ships    []shipped
	resolves int
	encoders int

	before  func(n int, s *sinks.Shipment) error // of attempt n of the target, before anything is there
	after   func(n int, s *sinks.Shipment) error // after it is there: an answer that got lost
	refuse  func(data string) *sinks.Refusal     // on shipping
	encode  func(data string) error              // on encoding
	resolve func(t *target, s *sinks.Shipment) error
	hang    bool // until ctx ends
}

type shipped struct {
	number  uint64
	attempt int
	resent  bool
	saved   string
	at      time.Time
	names   []string
}

func newTarget() *target { return &target{objects: map[string]string{}} }

type targetEncoder struct {
	t    *target
	b    sinks.Batch
	w    io.WriteCloser
	size int64
	done bool
}

func (t *target) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	w, err := sp.Create("lines")
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.encoders++
	t.mu.Unlock()
	return &targetEncoder{t: t, b: b, w: w}, nil
}

func (e *targetEncoder) Add(r *hydrant.Record) error {
	if e.t.encode != nil {
		if err := e.t.encode(string(r.Data)); err != nil {
			return err
		}
	}
	n, err := fmt.Fprintf(e.w, "%d.%d %s\n", r.Pos, r.Sub, r.Data)
	e.size += int64(n)
	return err
}

func (e *targetEncoder) Size() int64 { return e.size }

func (e *targetEncoder) Finish(to hydrant.Position) ([]sinks.Output, error) {
	e.end()
	name := fmt.Sprintf("%s-%s-%d-%d%s", e.b.Log, e.b.Run, e.b.From, to, e.b.Suffix)
	return []sinks.Output{{File: "lines", Target: "bucket", Name: name}}, e.w.Close()
}

func (e *targetEncoder) Abort() {
	if !e.done {
		e.end()
		e.w.Close()
	}
}

func (e *targetEncoder) end() {
	e.done = true
	e.t.mu.Lock()
	e.t.encoders--
	e.t.mu.Unlock()
}

func (t *target) Ship(ctx context.Context, s *sinks.Shipment) error {
	t.mu.Lock()
	hang, n, before, after := t.hang, len(t.ships)+1, t.before, t.after
	var names []string
	for _, o := range s.Outputs {
		names = append(names, o.Name)
	}
	t.ships = append(t.ships, shipped{s.Number, s.Attempt, s.Resent, string(s.Saved), time.Now(), names})
	t.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if before != nil {
		if err := before(n, s); err != nil {
			return err
		}
	}
	for _, o := range s.Outputs {
		if err := t.put(s, o); err != nil {
			return err
		}
	}
	if after != nil {
		return after(n, s)
	}
	return nil
}

func (t *target) put(s *sinks.Shipment, o sinks.Output) error {
	c, err := s.Open(o)
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, o.Size)
	if _, err := c.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept bytes.Buffer
	for line := range strings.Lines(string(b)) {
		id, data, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if t.refuse != nil {
			if why := t.refuse(data); why != nil {
				var pos, sub uint64
				fmt.Sscanf(id, "%d.%d", &pos, &sub)
				s.Refuse(hydrant.Position(pos), uint32(sub), *why)
				continue
			}
		}
		kept.WriteString(line)
	}
	if old, there := t.objects[o.Name]; there && old != kept.String() {
		return fmt.Errorf("BUG: %s is sent again with other bytes", o.Name)
	}
	if _, there := t.objects[o.Name]; !there {
		t.order = append(t.order, o.Name)
	}
	t.objects[o.Name] = kept.String()
	return nil
}

func (t *target) Resolve(ctx context.Context, s *sinks.Shipment) error {
	t.mu.Lock()
	t.resolves++
	t.mu.Unlock()
	return t.resolve(t, s)
}

func (t *target) Close() error { return nil }

// fail scripts what happens before anything is there; nil = nothing does.
func (t *target) fail(before func(n int, s *sinks.Shipment) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = before
}

func (t *target) attempts() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.ships)
}

// asked is how often it was asked what it has.
func (t *target) asked() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.resolves
}

// data are the records in all objects, in the order of the objects' first arrival.
func (t *target) data() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, name := range t.order {
		for line := range strings.Lines(t.objects[name]) {
			_, data, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			all = append(all, data)
		}
	}
	return all
}

// sizes is how many records each object holds.
func (t *target) sizes() (n []int) {
	for _, name := range t.order {
		n = append(n, strings.Count(t.objects[name], "\n"))
	}
	return n
}

// errorLine is an error record as a reader sees it.
type errorLine struct {
	AttemptsMade           int
	ArrivalTimestamp       int64
	AttemptEndingTimestamp int64
	ErrorCode              string
	ErrorMessage           string
	RawData                string
	Pipeline, Destination  string
	Stage, Log, Run        string
	Position, Sub, Shard   uint64
	Attributes             map[string]string
}

func (t *target) errorLines(tb testing.TB) (all []errorLine) {
	tb.Helper()
	for _, data := range t.data() {
		var e errorLine
		dec := json.NewDecoder(strings.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			tb.Fatalf("error record %s: %v", data, err)
		}
		raw, err := base64.StdEncoding.DecodeString(e.RawData)
		if err != nil {
			tb.Fatal(err)
		}
		e.RawData = string(raw)
		all = append(all, e)
	}
	return all
}

// holds fails unless the target holds exactly the records, in any order.
func (t *target) holds(tb testing.TB, want []string) {
	tb.Helper()
	got := t.data()
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		tb.Errorf("the target holds %d records, want %d\n got %.300s\nwant %.300s", len(got), len(want), fmt.Sprintf("%q", got), fmt.Sprintf("%q", want))
	}
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}
