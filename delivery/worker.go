package delivery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// errStopped ends a worker: ctx ended, or the journal takes nothing any more. Why is said elsewhere.
var errStopped = errors.New("stopped")

// batch is one that is Ready.
type batch struct {
	ready
	saved    [suffixes][]byte // the sinks' last notes
	outcome  *outcome
	restored bool  // it was Ready before this process was
	room     int64 // what it holds of the spool's share
}

// perRecord is what a record counts towards the size of a batch beside its data, in bytes: a batch of empty lines has to end too.
const perRecord = 32

// fullLook is how often a delivery that waits for its batch to become whole looks whether the log is full, which rings no bell.
const fullLook = time.Second

// work is what a worker does until there is nothing left to do, or ctx ends.
func (d *Delivery) work(ctx context.Context) {
	reader := d.o.Log.Reader(buffer.Filter{})
	for {
		b, err := d.next(ctx, reader)
		if err != nil {
			return
		}
		if err := d.deliver(ctx, b); err != nil {
			return
		}
	}
}

// next returns a batch that is Ready: one of an earlier process, or a new one. errStopped: there will be none.
func (d *Delivery) next(ctx context.Context, reader buffer.Reader) (*batch, error) {
	if err := d.turn.Take(ctx, d.o.Clock); err != nil {
		return nil, err
	}
	if b := d.popRestored(); b != nil {
		d.turn.Give()
		return b, nil
	}
	span, err := d.claim(ctx, reader)
	if err == nil {
		err = d.takeRoom(ctx)
	}
	d.turn.Give()
	if err != nil {
		return nil, err
	}
	b, err := d.build(ctx, span)
	if err != nil {
		d.room.Give(d.share)
	}
	return b, err
}

// claim finds what to build next, and waits until there is something. The caller holds the turn, and no memory: what waits to become a
// batch lies in the log.
func (d *Delivery) claim(ctx context.Context, reader buffer.Reader) (span hydrant.Span, end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	for {
		if s, ok := d.popLoose(); ok {
			return d.claimLoose(reader, s), nil
		}
		if err := d.journal.failed(); err != nil {
			return hydrant.Span{}, errStopped
		}
		draining, log := d.draining(), d.o.Log.State() // before the look: what it does not find then will not come
		from := d.from
		extent, err := reader.Measure(from, d.o.Batch.Size, perRecord)
		if err == nil && extent.To > from {
			d.see(from, extent.Time)
		}
		switch {
		case err != nil:
			t.failed("reading the log", hydrant.Span{From: from, To: from}, err)
			err = d.pause(ctx, t.tries, hydrant.Never)
		case extent.To > from && (extent.Whole || draining || log.Full != nil || d.o.Clock.Mono() >= d.due):
			d.from = extent.To
			return hydrant.Span{From: from, To: extent.To}, nil
		case extent.To > from:
			t.over()
			err = d.await(ctx, reader, log, extent.Left)
		case draining:
			err = errStopped
		default:
			t.over()
			err = d.waitFor(ctx, reader, from, hydrant.Never)
		}
		if err != nil {
			return hydrant.Span{}, err
		}
	}
}

// claimLoose takes as much of a loose span as makes a batch: what several batches of an earlier process were to cover is not made
// one of this.
func (d *Delivery) claimLoose(reader buffer.Reader, s hydrant.Span) hydrant.Span {
	e, err := reader.Measure(s.From, d.o.Batch.Size, perRecord)
	if err == nil {
		d.oldest(s.From, e.Time)
		if e.To > s.From && e.To < s.To {
			d.putLoose(hydrant.Span{From: e.To, To: s.To})
			s.To = e.To
		}
	}
	return s
}

// see notes when the first record of the next batch was seen. The caller holds the turn.
func (d *Delivery) see(from hydrant.Position, arrival int64) {
	if d.seen != from {
		d.seen, d.due = from, d.o.Clock.Mono()+d.o.Batch.Interval
		d.oldest(from, arrival)
	}
}

// await returns when the next batch, of which left bytes were missing when the log stood as it says, may be whole or has to end: at its
// time, when draining, and when the log is full, because only shipping frees it.
func (d *Delivery) await(ctx context.Context, reader buffer.Reader, log buffer.State, left int64) error {
	whole := weight(log.Appended) + left
	for now := log; ; now = d.o.Log.State() {
		mono := d.o.Clock.Mono()
		outgrown := d.from < d.opened && now.End > log.End // what is new is of another run (I9)
		if outgrown || now.Full != nil || weight(now.Appended) >= whole || mono >= d.due || d.called() {
			return nil
		}
		err := d.waitFor(ctx, reader, now.End, min(d.due, mono+fullLook))
		if err != nil && !errors.Is(err, hydrant.ErrDeadline) {
			return err
		}
	}
}

// weight is what records count towards the size of a batch.
func weight(t buffer.Totals) int64 { return t.Bytes + perRecord*t.Records }

// build makes a batch of a span, as often as it takes, and makes it Ready. Room for it is taken.
func (d *Delivery) build(ctx context.Context, span hydrant.Span) (made *batch, end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	for {
		b := d.newBuilder(span, d.share)
		err := b.fill(ctx)
		if err == nil {
			if b.at < span.To {
				d.putLoose(hydrant.Span{From: b.at, To: span.To})
			}
			span.To = b.at
			var r ready
			if r, err = b.finish(); err == nil {
				return d.makeReady(ctx, r)
			}
		}
		if ctx.Err() == nil {
			t.failed("building a batch", span, err)
		}
		b.abandon()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			return nil, err
		}
	}
}

// makeReady writes Ready: from here on the batch is what it is (I8).
func (d *Delivery) makeReady(ctx context.Context, r ready) (*batch, error) {
	b := &batch{ready: r}
	if hydrant.Sabotaged(hydrant.RulePutAfterReady) {
		d.o.Sink.Ship(ctx, d.shipment(b, toTarget, &marks{}))
	}
	if err := d.write(ctx, r.span, r); err != nil {
		return nil, err
	}
	b.room = min(b.spooled(), d.share)
	d.room.Give(d.share - b.room)
	return b, nil
}

// spooled is what the files of the batch take, in bytes.
func (r ready) spooled() (n int64) {
	for _, o := range r.outputs {
		n += o.Size
	}
	return n
}

// write makes an entry durable, however long that takes on a full disk, and sweeps the spool of what became settled by it. An
// error ends the worker.
func (d *Delivery) write(ctx context.Context, span hydrant.Span, entry any) (end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	for {
		err := d.journal.write(entry)
		switch {
		case err == nil:
			d.sweep()
			return nil
		case !hydrant.NoSpace(err):
			d.hold(err)
			return errStopped
		}
		t.failed("writing the journal", span, err)
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			return err
		}
	}
}

// sweep removes the files of batches whose Done is durable.
func (d *Delivery) sweep() {
	for _, number := range d.journal.takeSettled() {
		if err := d.spool.remove(d.spool.path(number)); err != nil {
			d.health.warn("spool is not removed before the next start", err)
		}
		d.mu.Lock()
		room := d.rooms[number]
		delete(d.rooms, number)
		d.mu.Unlock()
		d.room.Give(room)
	}
}

// takeRoom takes a batch's share of the spool. Who waits for it makes those that are done with theirs say so.
func (d *Delivery) takeRoom(ctx context.Context) error {
	if d.room.Try(d.share) {
		return nil
	}
	d.hungry.Add(1)
	defer d.hungry.Add(-1)
	if err := d.flush(); err != nil {
		return err
	}
	return d.room.Take(ctx, d.o.Clock, d.share)
}

// flush writes the Dones that wait. On a full disk they go on waiting.
func (d *Delivery) flush() error {
	err := d.journal.flush()
	switch {
	case err == nil:
		d.sweep()
	case !hydrant.NoSpace(err):
		d.hold(err)
		return errStopped
	}
	return nil
}

// waitFor is Reader.Wait that ends, without an error, also when a drain begins or a span comes loose.
func (d *Delivery) waitFor(ctx context.Context, r buffer.Reader, from hydrant.Position, until time.Duration) error {
	wait, wake := context.WithCancel(ctx)
	defer wake()
	d.mu.Lock()
	d.wake = wake
	d.mu.Unlock()
	if d.called() {
		return nil
	}
	err := r.Wait(wait, from, until)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil
	}
	return err
}

// putLoose gives back the rest of a claim that was cut short; the next worker takes it before anything newer.
func (d *Delivery) putLoose(s hydrant.Span) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, _ := slices.BinarySearchFunc(d.loose, s, func(a, b hydrant.Span) int { return cmp.Compare(a.From, b.From) })
	d.loose = slices.Insert(d.loose, at, s)
	if d.wake != nil {
		d.wake()
	}
}

func (d *Delivery) popLoose() (hydrant.Span, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.loose) == 0 {
		return hydrant.Span{}, false
	}
	s := d.loose[0]
	d.loose = d.loose[1:]
	return s, true
}

// called tells whether a wait for records has to end: a drain began, or a span came loose.
func (d *Delivery) called() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drains || len(d.loose) > 0
}

// popRestored returns the oldest batch of an earlier process, unless a loose span is before it: one worker delivers in order.
func (d *Delivery) popRestored() *batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.restored) == 0 || len(d.loose) > 0 && d.loose[0].From < d.restored[0].span.From {
		return nil
	}
	b := d.restored[0]
	d.restored = d.restored[1:]
	return b
}
