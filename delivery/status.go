package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// Status is what hydrant status shows of a delivery. Appended = Delivered + Refused + Dropped + Damaged + Pending; none
// of them is computed from the others (I13).
type Status struct {
	Ledger
	Appended      buffer.Totals    // since the delivery was made; counted by the log
	Pending       buffer.Totals    // counted by the log
	Committed     hydrant.Position // everything before it is settled
	Ready         int              // batches that are spooled and not yet Done
	OldestPending time.Duration    // age of the oldest pending record; 0 when there is none
	LastDelivery  time.Time        // of this process; zero = none yet
	LastError     *LastError       // nil = none in this process
}

// Ledger is what has become of the records that are settled.
type Ledger struct{ Delivered, Refused, Dropped, Damaged buffer.Totals }

func (l *Ledger) add(o Ledger) {
	l.Delivered.Add(o.Delivered)
	l.Refused.Add(o.Refused)
	l.Dropped.Add(o.Dropped)
	l.Damaged.Add(o.Damaged)
}

// LastError is the trouble that a delivery is in, or was in last.
type LastError struct {
	Text     string
	Remedy   string    // what the operator can do; "" when it may pass by itself
	Operator bool      // only the operator can mend it
	Since    time.Time // of the first failed attempt
	Until    time.Time // zero while it lasts
	Attempts int       // failed ones, of all batches
}

// Counts is what metrics show of a delivery: all of it is in memory.
type Counts struct {
	Ledger
	Committed     hydrant.Position
	Ready         int
	Batches       int64 // shipped in this process
	Attempts      int64 // to ship one
	Failures      int64 // of these attempts
	SpoolBytes    int64 // reserved or taken
	SpoolMax      int64
	OldestPending time.Duration // of the batches under way
	LastDelivery  time.Time
	LastError     *LastError
}

// Counts is cheap: it reads nothing.
func (d *Delivery) Counts() Counts {
	c := Counts{
		Batches: d.batches.Load(), Attempts: d.attempts.Load(), Failures: d.failures.Load(),
		SpoolBytes: d.room.Used(), SpoolMax: d.room.Total(), LastError: d.lastError(),
	}
	now := d.o.Clock.Wall()
	d.mu.Lock()
	j := d.journal
	c.LastDelivery = d.last
	arrival, some := d.firstUnderWay()
	d.mu.Unlock()
	if some {
		c.OldestPending = age(now, arrival)
	}
	if j != nil {
		s := j.view()
		c.Ledger, c.Committed, c.Ready = s.sums, s.committed, s.ready()
	}
	return c
}

// firstUnderWay is when the oldest batch that waits, is built or shipped began to arrive. The caller holds mu.
func (d *Delivery) firstUnderWay() (arrival int64, some bool) {
	var first hydrant.Position
	for from, time := range d.progress {
		if !some || from < first {
			first, arrival, some = from, time, true
		}
	}
	return arrival, some
}

// age of a record; never negative, whatever the clock was set to.
func age(now time.Time, arrival int64) time.Duration {
	return max(0, now.Sub(time.UnixMilli(arrival)))
}

// Status says how the delivery stands. It reads the heads of the blocks that are pending. An error: the log cannot be
// read; what the journal says is in the Status all the same. Or the journal cannot be read, and nothing can be said: the
// delivery holds, and the error is why.
func (d *Delivery) Status() (Status, error) {
	d.mu.Lock()
	j, last := d.journal, d.last
	d.mu.Unlock()
	if j == nil {
		return Status{LastError: d.lastError()}, d.heldBy()
	}
	s, err := j.view().status(d.o.Log, d.o.Log.Reader(buffer.Filter{}), d.o.Clock.Wall())
	s.LastDelivery, s.LastError = last, d.lastError()
	return s, err
}

// lastError puts what lasts until a restart before what passes.
func (d *Delivery) lastError() *LastError {
	e := d.health.lastError()
	held := d.heldBy()
	if e == nil || held == nil {
		return e
	}
	e.Text, e.Until = held.Error(), time.Time{}
	var op *sinks.OperatorError
	if errors.As(held, &op) {
		e.Remedy, e.Operator = op.Remedy, true
	}
	return e
}

// stater is the part of a log that says how much it holds.
type stater interface{ State() buffer.State }

// ReadStatus is Status for a delivery that is not running: from what its cursor and its log hold at time now. It
// writes nothing. An error: the journal is damaged, or the log cannot be read.
func ReadStatus(committed hydrant.Position, entries []buffer.Entry, log buffer.State, r buffer.Reader, now time.Time) (Status, error) {
	s := &state{start: committed, committed: committed}
	if len(entries) > 0 {
		var err error
		if s, err = replay(committed, entries); err != nil {
			return Status{Committed: committed}, fmt.Errorf("journal: %w", err)
		}
	}
	return s.status(still(log), r, now)
}

// still is a log that does not change.
type still buffer.State

func (s still) State() buffer.State { return buffer.State(s) }

// ready counts the batches that are spooled and not Done.
func (s *state) ready() (n int) {
	for _, b := range s.open {
		if b.done == nil {
			n++
		}
	}
	return n
}

// status joins what the journal counted with what the log counts.
func (s *state) status(log stater, r buffer.Reader, now time.Time) (Status, error) {
	st := Status{Ledger: s.sums, Committed: s.committed, Ready: s.ready()}
	appended, pending, err := account(log, r, s.committed)
	if err != nil {
		return st, err
	}
	// Batches behind committed may be settled already: what was read for them is not pending.
	for _, b := range s.open {
		if b.done != nil {
			pending = minus(minus(pending, b.ready.read), b.ready.damaged)
		}
	}
	st.Appended, st.Pending = minus(appended, s.before), pending
	if pending.Records > 0 {
		st.OldestPending, err = s.oldest(r, now)
	}
	return st, err
}

// oldest is the age of the oldest record that is not settled.
func (s *state) oldest(r buffer.Reader, now time.Time) (time.Duration, error) {
	at := s.committed
	for _, b := range s.open {
		if b.ready.span.From != at {
			break
		}
		if b.done == nil && b.ready.read.Records > 0 {
			return age(now, b.ready.time), nil
		}
		at = b.ready.span.To
	}
	var one hydrant.Batch
	if _, err := r.Read(at, at+1, &one); err != nil || one.Len() == 0 {
		return 0, nil // damage is the delivery's to report
	}
	return age(now, one.At(0).Time), nil
}

// bytesOf is the data in a span that cannot be read, in bytes, as far as what lies around it tells.
func (d *Delivery) bytesOf(r buffer.Reader, s hydrant.Span) int64 {
	all, behind, err := account(d.o.Log, r, s.From)
	if err != nil {
		return 0
	}
	from := minus(all, behind)
	if all, behind, err = account(d.o.Log, r, s.To); err != nil {
		return 0
	}
	return max(0, minus(all, behind).Bytes-from.Bytes)
}

// account is what the log has appended ever, and what lies in it from a position on; both of the same moment, unless
// the log is busy.
func account(log stater, r buffer.Reader, from hydrant.Position) (appended, pending buffer.Totals, err error) {
	for range 3 {
		before := log.State()
		if pending, err = r.Count(from); err != nil {
			return appended, pending, err
		}
		after := log.State()
		appended = after.Appended
		if before.End == after.End {
			break
		}
	}
	return appended, pending, nil
}
