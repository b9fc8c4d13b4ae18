package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

const minutes = time.Minute

// mortal is a log whose journal stops working at a chosen write: the process that uses it dies there, with what it
// knows, while the files stay.
type mortal struct {
	buffer.Log
	writes atomic.Int64
	dies   int64 // at which write; 0 = never
	before bool  // the write itself is lost as well
	err    error
	points sync.Map
}

var errDied = errors.New("the process died here")

func (m *mortal) Cursor(name string, start buffer.Start) (buffer.Cursor, error) {
	c, err := m.Log.Cursor(name, start)
	return &mortalCursor{c, m}, err
}

type mortalCursor struct {
	buffer.Cursor
	m *mortal
}

func (c *mortalCursor) Write(p hydrant.Point, committed hydrant.Position, entries []buffer.Entry, snapshot func() []buffer.Entry) error {
	n := c.m.writes.Add(1)
	c.m.points.Store(p, true)
	dies := c.m.dies > 0 && n >= c.m.dies
	if dies && (c.m.before || n > c.m.dies) {
		return c.m.err
	}
	err := c.Cursor.Write(p, committed, entries, snapshot)
	if dies {
		return c.m.err
	}
	return err
}

// picky refuses, drops, changes and splits by what a record begins with.
type picky struct{}

func (f picky) Transform(_ context.Context, in, out *hydrant.Batch, v []transform.Verdict) error {
	for i := range v {
		r := in.At(i)
		kind, rest, _ := strings.Cut(string(r.Data), " ")
		v[i].Kind = transform.Unchanged
		switch kind {
		case "drop":
			v[i].Kind = transform.Dropped
		case "refuse":
			v[i] = transform.Verdict{Kind: transform.Refused, Code: "Nonsense", Reason: "it says so"}
		case "change":
			v[i].Kind = transform.Changed
			out.Append(hydrant.Record{Data: []byte("changed " + rest)})
		case "split":
			parts := strings.Fields(rest)
			v[i] = transform.Verdict{Kind: transform.Split, Parts: len(parts)}
			for _, p := range parts {
				out.Append(hydrant.Record{Data: []byte(p)})
			}
		}
	}
	return nil
}

// everything is a batch in which all can happen that can happen to a record.
var everything = []string{
	"plain 1", "drop 2", "refuse 3", "change 4", "split a b c", "uncodable 6", "split d uncodable", "unwanted 8", "split unwanted e",
	"split uncodable unwanted", "split", "plain 12",
}

var everythingDelivered = []string{"plain 1", "changed 4", "a", "b", "c", "d", "e", "plain 12"}

// everythingRefused by stage, in the order of the log.
var everythingRefused = []string{
	"transform refuse 3", "encode uncodable 6", "encode split d uncodable", "encode split uncodable unwanted",
	"delivery unwanted 8", "delivery split unwanted e",
}

func everythingLedger(n int64) Ledger {
	return Ledger{Delivered: records(4 * n), Refused: records(6 * n), Dropped: records(2 * n)}
}

func (r *rig) pickyTarget() {
	r.target.refuse = func(data string) *sinks.Refusal {
		if strings.HasPrefix(data, "unwanted") {
			return &sinks.Refusal{Code: "Unwanted", Message: "by the target"}
		}
		return nil
	}
	r.target.encode = func(data string) error {
		if strings.HasPrefix(data, "uncodable") {
			return &sinks.Refusal{Code: "Uncodable", Message: "by the encoder"}
		}
		return nil
	}
}

func (r *rig) hasEverything(n int) {
	r.t.Helper()
	var delivered, refused []string
	for range n {
		delivered, refused = append(delivered, everythingDelivered...), append(refused, everythingRefused...)
	}
	r.target.holds(r.t, delivered)
	var got []string
	for _, e := range r.errs.errorLines(r.t) {
		got = append(got, e.Stage+" "+e.RawData)
	}
	slices.Sort(got)
	slices.Sort(refused)
	if !slices.Equal(got, refused) {
		r.t.Errorf("error records:\n got %q\nwant %q", got, refused)
	}
}

func TestEveryRecordEndsInOnePlace(t *testing.T) {
	inRig(t, func(o *Options) { o.Transform = picky{}; o.Batch.Size = 1 << 20 }, func(r *rig) {
		r.pickyTarget()
		r.append(everything...)
		r.drained()
		r.hasEverything(1)
		r.addsUp(Status{Appended: records(12), Ledger: everythingLedger(1)})
		for _, e := range r.errs.errorLines(t) {
			if e.Pipeline != "app" || e.Destination != "archive" || e.Log != r.log.State().Log.String() || e.Run != r.log.State().Run.String() ||
				e.Position < 1 || e.Position > 12 || everything[e.Position-1] != e.RawData || e.AttemptsMade != 1 || e.ArrivalTimestamp == 0 || e.AttemptEndingTimestamp == 0 {
				t.Errorf("error record: %+v", e)
			}
		}
		for name := range r.errs.objects {
			if !strings.HasSuffix(name, "-transform-failed") && !strings.HasSuffix(name, "-encode-failed") && !strings.HasSuffix(name, "-delivery-failed") {
				t.Errorf("error object %s: no stage in its name", name)
			}
		}
	})
}

func TestACrashAtAnyWriteOfTheJournalLosesAndDoublesNothing(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, err := range []error{errDied, syscall.EIO} {
			t.Run(fmt.Sprintf("lost %v, %v", before, err), func(t *testing.T) {
				inRig(t, func(o *Options) { o.Transform = picky{}; o.Batch.Size = 100; o.Concurrency = 2 }, func(r *rig) {
					r.pickyTarget()
					saves := func(n int, s *sinks.Shipment) error {
						return s.Save([]byte(fmt.Sprint("note of ", s.Number, s.Suffix)))
					}
					r.target.before, r.errs.before = saves, saves
					const rounds = 3
					for range rounds {
						r.append(everything...)
					}
					var points sync.Map
					lives := 0
					for dies := int64(1); ; dies++ {
						lives++
						m := &mortal{Log: r.log, dies: dies, before: before, err: err}
						r.o.Log = m
						r.start()
						close(r.drain)
						rerr := <-r.done
						r.cancel()
						m.points.Range(func(k, v any) bool { points.Store(k, v); return true })
						for _, s := range r.target.ships {
							if s.saved != "" && s.saved != fmt.Sprint("note of ", s.number) {
								t.Errorf("shipment %d is given the note %q", s.number, s.saved)
							}
						}
						if rerr == nil {
							break
						}
						if !errors.Is(rerr, err) {
							t.Fatal(rerr)
						}
						r.closeLog()
						r.openLog()
						if lives > 100 {
							t.Fatal("it gets nowhere")
						}
					}
					if lives < 3 {
						t.Errorf("%d lives: too few crashes to prove anything", lives)
					}
					for _, p := range []hydrant.Point{hydrant.PointReady, hydrant.PointOutcome, hydrant.PointSave, hydrant.PointDone} {
						if _, seen := points.Load(p); !seen {
							t.Errorf("no frame was written as %s", p)
						}
					}
					r.hasEverything(rounds)
					r.addsUp(Status{Appended: records(12 * rounds), Ledger: everythingLedger(rounds)})
				})
			})
		}
	}
}

func TestAFailedJournalStopsSendingUntilARestart(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 2 }, func(r *rig) {
		m := &mortal{Log: r.log, dies: 5, before: true, err: syscall.EIO}
		r.o.Log = m
		r.append(numbered(100, 100)...)
		r.start()
		r.pass(minutes)
		sent := r.target.attempts()
		r.append(numbered(100, 100)...)
		r.pass(60 * minutes)
		if now := r.target.attempts(); now != sent {
			t.Errorf("%d more attempts after the journal failed", now-sent)
		}
		if e := r.status().LastError; e == nil || !e.Operator || !strings.Contains(e.Remedy, "restart") || !strings.Contains(e.Text, "input/output error") {
			t.Errorf("last error: %+v", e)
		}
		close(r.drain)
		if err := <-r.done; !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "app/archive") {
			t.Errorf("drain: %v", err)
		}
		r.cancel()
		if n := len(r.lines.all); n > 3 {
			t.Errorf("%d lines: %v", n, r.lines.all)
		}
	})
}

func TestAJournalOnAFullDiskGoesOnWhenThereIsSpace(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		m := &mortal{Log: r.log, dies: 2, before: true, err: syscall.ENOSPC}
		r.o.Log = m
		want := numbered(100, 100)
		r.append(want...)
		r.start()
		r.pass(30 * minutes)
		if e := r.status().LastError; e == nil || !e.Operator || !strings.Contains(e.Remedy, "space") || r.target.attempts() != 0 {
			t.Errorf("%d attempts, last error: %+v", r.target.attempts(), e)
		}
		m.writes.Store(-1 << 40)
		r.pass(3 * minutes)
		r.target.holds(t, want)
		r.addsUp(Status{Appended: records(100), Ledger: Ledger{Delivered: records(100)}})
		r.kill()
	})
}

func TestADamagedJournalHoldsItsDeliveryByName(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries []buffer.Entry
		remedy  string
	}{
		{"an entry that ends early", []buffer.Entry{{Type: typeSnapshot, Body: []byte{1, 0, 9}}}, "restart"},
		{"an entry of a newer version", []buffer.Entry{{Type: 99}}, "newer"},
		{"a Done of no batch", []buffer.Entry{snapshot{start: 1}.entry(), done{batch: 7}.entry()}, "restart"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inRig(t, nil, func(r *rig) {
				c, err := r.log.Cursor("archive", buffer.Oldest)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(c.Write(hydrant.PointSnapshot, 1, tt.entries, nil), c.Close()); err != nil {
					t.Fatal(err)
				}
				r.append("one")
				r.start()
				r.pass(10 * minutes)
				s, err := r.d.Status()
				if err == nil {
					t.Errorf("status says %+v of a journal that cannot be read, want an error", s)
				}
				if e := s.LastError; e == nil || !e.Operator || !strings.Contains(e.Remedy, tt.remedy) {
					t.Errorf("last error: %+v", e)
				}
				if r.target.attempts() != 0 {
					t.Error("something was sent")
				}
				close(r.drain)
				if err := <-r.done; err == nil || !strings.Contains(err.Error(), "app/archive") {
					t.Errorf("drain: %v", err)
				}
				r.cancel()
			})
		})
	}
}

func TestWhatWasReadyGoesOutUnderItsOldNameWithItsOldBytes(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 3 }, func(r *rig) {
		r.target.before = func(int, *sinks.Shipment) error { return errRefused }
		want := numbered(50, 100)
		r.append(want...)
		r.start()
		r.pass(10 * minutes)
		var names []string
		for _, s := range r.target.ships {
			if !slices.Contains(names, s.names[0]) {
				names = append(names, s.names[0])
			}
		}
		if s := r.status(); s.Ready != 3 || len(names) != 3 {
			t.Fatalf("%d batches are Ready, %d were tried, want 3", s.Ready, len(names))
		}
		// The settings change: a batch that was Ready does not.
		r.o.Batch.Size, r.o.Pipeline = 333, "renamed"
		first := len(r.target.ships)
		r.restart()
		r.pass(10 * minutes)
		var again []string
		for _, s := range r.target.ships[first:] {
			if !s.resent {
				t.Errorf("batch %d is not told to be a resend", s.number)
			}
			if !slices.Contains(again, s.names[0]) {
				again = append(again, s.names[0])
			}
		}
		slices.Sort(names)
		slices.Sort(again)
		if !slices.Equal(names, again) {
			t.Errorf("sent again as %v, was %v", again, names)
		}
		r.target.fail(nil)
		r.pass(10 * minutes)
		r.target.holds(t, want)
		r.kill()
	})
}
