package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// deliver brings a Ready batch to its end: the target, the error output, Done. An error ends the worker.
func (d *Delivery) deliver(ctx context.Context, b *batch) error {
	if b.restored {
		if sound, err := d.inspect(ctx, b); err != nil || !sound {
			return err
		}
	}
	if b.outcome == nil && len(b.of(toTarget)) > 0 {
		if err := d.shipRecords(ctx, b); err != nil {
			return err
		}
	}
	for to := transformFailed; to < suffixes; to++ {
		if len(b.of(to)) > 0 {
			if err := d.shipErrors(ctx, b, to); err != nil {
				return err
			}
		}
	}
	return d.settle(b)
}

// inspect verifies the files of a batch that was Ready before this process was. One that is damaged can neither be
// sent nor built again, since it may have been sent: it is put aside, and the others go on.
func (d *Delivery) inspect(ctx context.Context, b *batch) (sound bool, err error) {
	t := trouble{h: &d.health}
	for {
		err := d.verify(b)
		if err == nil {
			t.over()
			return true, nil
		}
		damaged := errors.Is(err, errSpoolDamaged)
		if damaged {
			err = sinks.Operator(err, "put the file back as it was and restart; the batch may have been sent, so it is not built again")
		}
		t.failed("looking at the spool", b.span, err)
		if damaged {
			t.leave()
			d.park(b, err)
			return false, nil
		}
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			t.leave()
			return false, err
		}
	}
}

func (d *Delivery) verify(b *batch) error {
	for _, o := range b.outputs {
		if o.role == roleRecords && b.outcome != nil {
			continue // nothing more is sent to the target
		}
		if err := d.spool.verify(b.ready.batch, o.Output); err != nil {
			return err
		}
	}
	if b.outcome != nil {
		for _, o := range b.outcome.outputs {
			if err := d.spool.verify(b.ready.batch, o.Output); err != nil {
				return err
			}
		}
	}
	return nil
}

// shipRecords ships until the target has spoken its last word, and freezes it when it refused any (I11).
func (d *Delivery) shipRecords(ctx context.Context, b *batch) error {
	t := trouble{h: &d.health}
	defer t.leave() // unless it is over by then
	resent, made := b.restored, 0
	for {
		late := d.givesUp(&t)
		m := &marks{}
		var err error
		switch {
		case !late:
			made++
			err = d.attempt(ctx, d.o.Sink.Ship, d.resend(b, m, made, resent))
			resent = resent || err != nil && !sinks.IsUnsent(err)
		case resent || b.saved[toTarget] != nil:
			// It may be there, or have left something there that the sink has made a note of. Only the target knows, and until it says
			// so the batch is held: twice is worse than late.
			err = d.attempt(ctx, d.o.Sink.Resolve, d.resend(b, m, made, resent))
		}
		if err == nil {
			if late {
				m.giveUp(t.err)
			}
			if err := d.conclude(ctx, b, m, made); err != nil {
				return err
			}
			if late && b.outcome != nil {
				t.gaveUp(b.span, b.outcome.refused.Records)
			} else {
				t.reached()
			}
			return nil
		}
		if errors.Is(err, errStopped) || ctx.Err() != nil {
			return errStopped
		}
		t.failed("shipping a batch", b.span, err)
		if err := d.pause(ctx, t.tries, d.giveUpAt(&t)); err != nil {
			return err
		}
	}
}

// attempt calls the sink once, unless the journal can no longer say what came of it.
func (d *Delivery) attempt(ctx context.Context, do func(context.Context, *sinks.Shipment) error, s *sinks.Shipment) error {
	if d.journal.failed() != nil {
		return errStopped
	}
	d.attempts.Add(1)
	err := do(ctx, s)
	if err != nil {
		d.failures.Add(1)
	}
	return err
}

// giveUpAt is when a batch in trouble is diverted; Never when it is not.
func (d *Delivery) giveUpAt(t *trouble) time.Duration {
	if d.o.GiveUpAfter <= 0 || t.tries == 0 || t.class == operator || d.o.Clock.Mono() >= t.first+d.o.GiveUpAfter {
		return hydrant.Never
	}
	return t.first + d.o.GiveUpAfter
}

// givesUp tells whether the time of a batch in trouble is up. What only the operator can mend is held however long it takes.
func (d *Delivery) givesUp(t *trouble) bool {
	return d.o.GiveUpAfter > 0 && t.tries > 0 && t.class != operator && d.o.Clock.Mono() >= t.first+d.o.GiveUpAfter
}

// shipErrors ships an error output until it is there: the delivery holds as long as it cannot be written.
func (d *Delivery) shipErrors(ctx context.Context, b *batch, to suffix) (end error) {
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	resent := b.restored
	for attempt := 1; ; attempt++ {
		m := &marks{}
		s := d.shipment(b, to, m)
		s.Attempt, s.Resent = attempt, resent
		err := d.attempt(ctx, d.o.Errors.Ship, s)
		if errors.Is(err, errStopped) || ctx.Err() != nil && err != nil {
			return errStopped
		}
		if err == nil && m.any() {
			err = sinks.Operator(errors.New("the error output refuses error records"), "choose another error_output")
		}
		if err == nil {
			return nil
		}
		resent = resent || !sinks.IsUnsent(err)
		t.failed("writing the error output", b.span, err)
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			return err
		}
	}
}

// settle leaves the Done of a batch for the next frame of the journal.
func (d *Delivery) settle(b *batch) error {
	sums := Ledger{Delivered: b.ok, Refused: b.refused, Dropped: b.dropped, Damaged: b.damaged}
	if b.outcome != nil {
		sums.Delivered = minus(minus(sums.Delivered, b.outcome.refused), b.outcome.damaged)
		sums.Refused.Add(b.outcome.refused)
		sums.Damaged.Add(b.outcome.damaged)
	}
	d.settledOne(b.span.From)
	d.mu.Lock()
	d.rooms[b.ready.batch] = b.room
	d.mu.Unlock()
	d.batches.Add(1)
	d.journal.settle(done{b.ready.batch, sums})
	now := d.o.Clock.Wall()
	d.mu.Lock()
	if sums.Delivered.Records > 0 {
		d.last = now
	}
	d.mu.Unlock()
	defer d.bell.Ring() // also behind a flush, which a full disk may have kept from writing
	if d.hungry.Load() > 0 {
		return d.flush()
	}
	return nil
}

func minus(a, b buffer.Totals) buffer.Totals {
	return buffer.Totals{Records: a.Records - b.Records, Bytes: a.Bytes - b.Bytes}
}

// of are the outputs of one of the batch's shipments.
func (b *batch) of(to suffix) []sinks.Output {
	var outputs []sinks.Output
	all := b.outputs
	if b.outcome != nil {
		all = append(all[:len(all):len(all)], b.outcome.outputs...)
	}
	for _, o := range all {
		if o.role != roleOdd && (o.role == roleErrors) == (to != toTarget) && suffixOf(o.File) == to {
			outputs = append(outputs, o.Output)
		}
	}
	return outputs
}

// identity is the batch as sinks know it.
func (d *Delivery) identity(b *batch, to suffix) sinks.Batch {
	return sinks.Batch{
		Pipeline: d.o.Pipeline, Destination: d.o.Destination, Log: d.log, Run: b.run,
		From: b.span.From, Time: b.time, Suffix: to.String(),
	}
}

// shipment is one attempt's view of a batch.
func (d *Delivery) shipment(b *batch, to suffix, m *marks) *sinks.Shipment {
	s := sinks.NewShipment(d.identity(b, to), m.mark)
	s.To, s.Number, s.Outputs, s.Attempt, s.Saved = b.span.To, b.ready.batch, b.of(to), 1, b.saved[to]
	s.Open = func(o sinks.Output) (sinks.Content, error) { return d.spool.open(b.ready.batch, o) }
	s.Save = func(note []byte) error {
		note = append([]byte(nil), note...)
		if err := d.journal.write(save{b.ready.batch, note, to}); err != nil {
			if !hydrant.NoSpace(err) {
				d.hold(err)
			}
			return err
		}
		d.sweep() // of Dones that rode along
		d.mu.Lock()
		b.saved[to] = note
		d.mu.Unlock()
		return nil
	}
	return s
}

func (d *Delivery) resend(b *batch, m *marks, attempt int, resent bool) *sinks.Shipment {
	s := d.shipment(b, toTarget, m)
	s.Attempt, s.Resent = attempt, resent
	return s
}

// marks is what a sink says of the records of a shipment.
type marks struct {
	mu        sync.Mutex
	all       *sinks.Refusal
	refused   map[hydrant.Position]refusedPart
	delivered bool // all of it
	parts     map[hydrant.Position]map[uint32]bool
	rest      *sinks.Refusal // what becomes of those that are not marked; nil = they are delivered
}

type refusedPart struct {
	why sinks.Refusal
	sub uint32
}

func (m *marks) mark(pos hydrant.Position, sub uint32, why *sinks.Refusal, delivered bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case delivered && pos == 0:
		m.delivered = true
	case delivered:
		if m.parts == nil {
			m.parts = map[hydrant.Position]map[uint32]bool{}
		}
		if m.parts[pos] == nil {
			m.parts[pos] = map[uint32]bool{}
		}
		m.parts[pos][sub] = true
	case pos == 0:
		m.all = why
	default:
		if m.refused == nil {
			m.refused = map[hydrant.Position]refusedPart{}
		}
		if old, twice := m.refused[pos]; !twice || sub < old.sub {
			m.refused[pos] = refusedPart{*why, sub}
		}
	}
}

// giveUp makes refusals of all that Resolve did not find.
func (m *marks) giveUp(last error) {
	m.rest = &sinks.Refusal{Code: "DeliveryTimeout", Message: fmt.Sprintf("given up; the last error was: %v", last)}
}

// any tells whether a record was refused.
func (m *marks) any() bool {
	return m.all != nil || len(m.refused) > 0 || m.rest != nil && !m.delivered
}

// on is the verdict on a record that became so many parts; nil = delivered.
func (m *marks) on(pos hydrant.Position, parts uint64) *refusedPart {
	if m.all != nil {
		return &refusedPart{why: *m.all}
	}
	if r, ok := m.refused[pos]; ok {
		return &r
	}
	if m.rest == nil || m.delivered || uint64(len(m.parts[pos])) >= parts {
		return nil
	}
	return &refusedPart{why: *m.rest}
}
