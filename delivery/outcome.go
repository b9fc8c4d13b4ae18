package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// conclude freezes the target's last word on a batch: the records that it refused, or that were given up, become error records
// in the spool, and the Outcome that names them is durable before they are shipped (I11).
func (d *Delivery) conclude(ctx context.Context, b *batch, m *marks, attempts int) (end error) {
	if !m.any() {
		return nil
	}
	t := trouble{h: &d.health}
	defer func() { t.end(end) }()
	for {
		o, err := d.spoolOutcome(ctx, b, m, attempts)
		if err == nil {
			if o.refused == (buffer.Totals{}) && o.damaged == (buffer.Totals{}) {
				return nil // what it refused was settled before it was sent
			}
			if err := d.write(ctx, b.span, o); err != nil {
				return err
			}
			b.outcome = &o
			return nil
		}
		if ctx.Err() != nil {
			return errStopped
		}
		t.failed("spooling refused records", b.span, err)
		if err := d.pause(ctx, t.tries, hydrant.Never); err != nil {
			return err
		}
	}
}

// diverter writes the error records of one batch from the log.
type diverter struct {
	d        *Delivery
	batch    *batch
	id       sinks.Batch
	marks    *marks
	attempts int
	ended    int64
	refused  []hydrant.Position // in order, when only these can be; nil = look at all
	odd      *oddReader
	folder   *folder
	reader   buffer.Reader
	file     *errorFile
	lease    lease
	chunk    hydrant.Batch
	outcome  outcome
}

func (d *Delivery) spoolOutcome(ctx context.Context, b *batch, m *marks, attempts int) (outcome, error) {
	v := &diverter{
		d: d, batch: b, id: d.identity(b, toTarget), marks: m, attempts: attempts, ended: d.o.Clock.Wall().UnixMilli(),
		folder:  d.spool.folder(b.ready.batch),
		lease:   lease{memory: d.o.Memory, clock: d.o.Clock},
		outcome: outcome{batch: b.ready.batch},
	}
	v.folder.made = true
	if m.all == nil && m.rest == nil {
		v.refused = slices.Sorted(maps.Keys(m.refused))
	}
	defer v.lease.end()
	err := v.run(ctx)
	if err == nil {
		err = v.finish()
	}
	if err != nil {
		if v.file != nil {
			v.file.encoder.Abort()
		}
		v.folder.discard()
		return outcome{}, err
	}
	return v.outcome, nil
}

// run reads the span of the batch again, or those parts of it that hold refused records.
func (v *diverter) run(ctx context.Context) error {
	closed, err := v.openOdd()
	if err != nil {
		return err
	}
	defer closed()
	v.reader = v.d.o.Log.Reader(buffer.Filter{})
	for at := v.skip(v.batch.span.From); at < v.batch.span.To; at = v.skip(at) {
		if err := v.lease.want(ctx, encoderMemory+max(chunkMemory, v.chunk.Cap())); err != nil {
			return err
		}
		v.chunk.Reset()
		next, err := v.reader.Read(at, v.batch.span.To, &v.chunk)
		var damage *buffer.Corrupt
		if err != nil && !errors.As(err, &damage) {
			return err
		}
		if next == at {
			return fmt.Errorf("position %d: nothing to read, the batch ends at %d", at, v.batch.span.To)
		}
		if err := v.lease.want(ctx, encoderMemory+max(chunkMemory, v.chunk.Cap())); err != nil {
			return err
		}
		for i := range v.chunk.Len() {
			if err := v.record(v.chunk.At(i)); err != nil {
				return err
			}
		}
		if damage != nil {
			if err := v.lost(hydrant.Span{From: max(at, damage.Lost.From), To: min(damage.Lost.To, v.batch.span.To)}); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// skip goes on to the next refused position.
func (v *diverter) skip(at hydrant.Position) hydrant.Position {
	if v.refused == nil {
		return at
	}
	for len(v.refused) > 0 && v.refused[0] < at {
		v.refused = v.refused[1:]
	}
	if len(v.refused) == 0 {
		return v.batch.span.To
	}
	return v.refused[0]
}

// verdict on a position: nil = delivered, or settled before it was sent.
func (v *diverter) verdict(pos hydrant.Position) (*refusedPart, error) {
	odd, parts, err := v.odd.at(pos)
	if err != nil || odd && parts == 0 {
		return nil, err
	}
	return v.marks.on(pos, parts), nil
}

func (v *diverter) record(r *hydrant.Record) error {
	why, err := v.verdict(r.Pos)
	if err != nil || why == nil {
		return err
	}
	if v.file == nil {
		if v.file, err = v.d.openErrors(v.id, deliveryFailed, v.folder); err != nil {
			return err
		}
	}
	v.outcome.refused.Add(buffer.Totals{Records: 1, Bytes: int64(len(r.Data))})
	return v.file.add(v.id, r, refused{why: why.why, attempts: v.attempts, ended: v.ended, sub: why.sub})
}

// lost counts what can no longer be read, and so not be written out.
func (v *diverter) lost(s hydrant.Span) error {
	v.d.logger.Error("records are damaged", "span", s.String(), "records", s.Len())
	before := v.outcome.damaged.Records
	for pos := s.From; pos < s.To; pos++ {
		why, err := v.verdict(pos)
		if err != nil {
			return err
		}
		if why != nil {
			v.outcome.damaged.Records++
		}
	}
	if v.outcome.damaged.Records > before {
		v.outcome.damaged.Bytes += v.d.bytesOf(v.reader, s)
	}
	return nil
}

func (v *diverter) finish() error {
	if v.file == nil {
		return nil
	}
	outputs, err := v.file.finish(v.batch.span.To)
	if err != nil {
		return err
	}
	if err := v.folder.seal(outputs); err != nil {
		return err
	}
	v.outcome.outputs = outputs
	return nil
}

// openOdd finds what the batch has settled before it was sent.
func (v *diverter) openOdd() (closed func() error, err error) {
	v.odd = &oddReader{}
	for _, o := range v.batch.outputs {
		if o.role == roleOdd {
			f, err := v.d.spool.open(v.batch.ready.batch, o.Output)
			if err != nil {
				return nil, err
			}
			v.odd = readOdd(f, o.Size, v.batch.span.From)
			return f.Close, nil
		}
	}
	return func() error { return nil }, nil
}
