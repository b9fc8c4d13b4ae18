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

// claim is a span that one worker builds. Whole says that its end is known; else it is the live batch.
type claim struct {
	hydrant.Span
	whole bool
}

// work is what a worker does until there is nothing left to do, or ctx ends.
func (d *Delivery) work(ctx context.Context) {
	reader := d.o.Log.Reader(buffer.Filter{})
	for {
		b, err := d.next(ctx, reader)
		if err != nil {
			return
		}
		if b != nil {
			if err := d.deliver(ctx, b); err != nil {
				return
			}
		}
	}
}

// next returns a batch that is Ready: one of an earlier process, or a new one. Nil: the claim held nothing. errStopped: there will
// be none.
func (d *Delivery) next(ctx context.Context, reader buffer.Reader) (*batch, error) {
	if err := d.turn.Take(ctx, d.o.Clock); err != nil {
		return nil, err
	}
	if b := d.popRestored(); b != nil {
		d.turn.Give()
		return b, nil
	}
	c, err := d.claim(ctx, reader)
	if err == nil {
		err = d.takeRoom(ctx)
	}
	if err != nil || c.whole {
		d.turn.Give()
	}
	if err != nil {
		return nil, err
	}
	b, err := d.build(ctx, reader, c)
	if b == nil {
		d.room.Give(d.share)
	}
	return b, err
}

// claim finds what to build next. The caller holds the turn, and keeps it while it builds a live batch.
func (d *Delivery) claim(ctx context.Context, reader buffer.Reader) (c claim, end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	for {
		if s, ok := d.popLoose(); ok {
			// What several batches of an earlier process were to cover is not made one of this.
			if e, err := reader.Measure(s.From, d.o.Batch.Size, 0); err == nil && e.To > s.From && e.To < s.To {
				d.putLoose(hydrant.Span{From: e.To, To: s.To})
				s.To = e.To
			}
			return claim{s, true}, nil
		}
		if err := d.journal.failed(); err != nil {
			return claim{}, errStopped
		}
		draining := d.draining() // before the look: what it does not find then will not come
		from := d.from
		extent, err := reader.Measure(from, d.o.Batch.Size, 0)
		var damage *buffer.Corrupt
		switch {
		case errors.As(err, &damage):
			return claim{hydrant.Span{From: from}, false}, nil // reading counts it
		case err != nil:
			t.failed("reading the log", hydrant.Span{From: from, To: from}, err)
			if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
				return claim{}, err
			}
		case extent.Whole && extent.To > from:
			d.from = extent.To
			return claim{hydrant.Span{From: from, To: extent.To}, true}, nil
		case d.o.Log.State().End > from:
			return claim{hydrant.Span{From: from}, false}, nil
		case draining:
			return claim{}, errStopped
		default:
			t.over()
			if err := d.waitFor(ctx, reader, from, hydrant.Never); err != nil {
				return claim{}, err
			}
		}
	}
}

// build makes a batch of a claim, as often as it takes, and makes it Ready. Room for it is taken. A live claim comes with the turn,
// which passes on as soon as the batch has its end.
func (d *Delivery) build(ctx context.Context, reader buffer.Reader, c claim) (made *batch, end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	live := !c.whole
	defer func() {
		if live {
			d.turn.Give()
		}
	}()
	for {
		b := d.newBuilder(reader, c.From, c.To, d.share)
		err := b.fill(ctx)
		if err == nil && b.at == c.From {
			b.abandon()
			return nil, nil
		}
		if err == nil {
			if live {
				d.from, live = b.at, false
				d.turn.Give()
			} else if b.at < c.To {
				d.putLoose(hydrant.Span{From: b.at, To: c.To})
			}
			c.To = b.at
			var r ready
			if r, err = b.finish(); err == nil {
				return d.makeReady(ctx, r)
			}
		}
		if ctx.Err() == nil {
			t.failed("building a batch", hydrant.Span{From: c.From, To: b.at}, err)
		}
		b.abandon()
		d.settledOne(b.number)
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
	now := d.drains || len(d.loose) > 0
	d.mu.Unlock()
	if now {
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

func (d *Delivery) hasLoose() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.loose) > 0
}

func (d *Delivery) popRestored() *batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.restored) == 0 {
		return nil
	}
	b := d.restored[0]
	d.restored = d.restored[1:]
	return b
}
