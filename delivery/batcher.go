package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

// builder makes one batch: it reads from the log, asks the function, encodes into the spool. It is for one goroutine.
//
// A batch ends where its claim does: just behind the record that reaches the size, or where the log ended when it was time; or
// before that, where the run changes (I9), or the disk or the spool's share is used up.
type builder struct {
	d      *Delivery
	reader buffer.Reader
	number uint64
	limit  hydrant.Position // where it ends at the latest
	room   int64            // bytes of spool that it may take

	at      hydrant.Position // everything before it is in the batch
	ended   bool
	trouble trouble

	id      sinks.Batch
	entry   ready
	folder  *folder
	encoder sinks.Encoder
	added   int64 // records and parts that the encoder took
	errors  [suffixes]*errorFile
	odd     oddWriter

	lease    lease
	chunk    hydrant.Batch
	out      hydrant.Batch
	verdicts []transform.Verdict
	attempts int // that the chunk took
}

// newBuilder has a reader of its own, because a reader keeps what it has read of a large block, which has to go with the builder.
func (d *Delivery) newBuilder(span hydrant.Span, room int64) *builder {
	number := d.nextNumber()
	f := d.spool.folder(number)
	return &builder{
		d: d, reader: d.o.Log.Reader(buffer.Filter{}), number: number, limit: span.To, room: room, at: span.From, folder: f,
		trouble: trouble{h: &d.health},
		id:      sinks.Batch{Pipeline: d.o.Pipeline, Destination: d.o.Destination, Log: d.log, From: span.From},
		entry:   ready{batch: number, span: span},
		odd:     oddWriter{folder: f, next: span.From},
		lease:   lease{memory: d.o.Memory, clock: d.o.Clock},
	}
}

// fill builds until the batch ends. An error leaves nothing that could be used: abandon it.
func (b *builder) fill(ctx context.Context) error {
	for !b.ended && b.at < b.limit {
		if err := b.lease.want(ctx, b.encoding()+b.chunks()); err != nil {
			return err
		}
		next, err := b.reader.Read(b.at, b.limit, &b.chunk)
		if err == nil && next == b.at {
			err = fmt.Errorf("position %d: nothing to read, the batch ends at %d", b.at, b.limit)
		}
		if err := b.take(ctx, next, err); err != nil {
			return err
		}
	}
	b.trouble.over()
	b.rest()
	return nil
}

// take works off what a read found; it leaves b.at where the next read goes on.
func (b *builder) take(ctx context.Context, next hydrant.Position, err error) error {
	var damage *buffer.Corrupt
	if err != nil && !errors.As(err, &damage) {
		return b.stumble(ctx, "reading the log", err)
	}
	if err := b.lease.want(ctx, b.encoding()+b.chunks()); err != nil {
		return err
	}
	if b.chunk.Len() > 0 {
		whole, err := b.records(ctx)
		if err != nil || !whole {
			b.empty()
			return err
		}
	}
	b.empty()
	if damage != nil {
		if err := b.lost(damage); err != nil {
			return err
		}
	}
	b.at = min(max(b.at, next), b.limit)
	return nil
}

// records works off the chunk. Whole is false when it has to be read again, shorter or at all, or when the batch ended in it.
func (b *builder) records(ctx context.Context) (whole bool, err error) {
	if b.entry.read.Records > 0 && b.chunk.Run != b.entry.run {
		b.ended = true
		return false, nil
	}
	b.begin(b.chunk.At(0), b.chunk.Run)
	if err := b.judge(ctx); err != nil {
		return false, b.stumble(ctx, "calling the function", err)
	}
	b.attempts = 1 + b.trouble.tries
	b.trouble.over()
	for i, out := 0, 0; i < b.chunk.Len(); i++ {
		r, v := b.chunk.At(i), transform.Verdict{Kind: transform.Unchanged}
		if len(b.verdicts) > 0 {
			v = b.verdicts[i]
		}
		n, err := b.record(r, v, out)
		if err != nil {
			return false, err
		}
		out += n
		b.at = r.Pos + 1
		if b.folder.full || b.spooled() >= b.room {
			b.ended = true
			return false, nil
		}
	}
	return true, nil
}

// begin notes where and when the batch begins.
func (b *builder) begin(first *hydrant.Record, run hydrant.RunID) {
	if b.entry.read.Records == 0 {
		b.entry.run, b.id.Run = run, run
		b.entry.time, b.id.Time = first.Time, first.Time
		b.d.oldest(b.entry.span.From, first.Time)
	}
}

// judge asks the function, if there is one.
func (b *builder) judge(ctx context.Context) error {
	if b.d.o.Transform == nil {
		return nil
	}
	n := b.chunk.Len()
	b.out.Reset()
	b.verdicts = append(b.verdicts[:0], make([]transform.Verdict, n)...)
	if err := b.d.o.Transform.Transform(ctx, &b.chunk, &b.out, b.verdicts); err != nil {
		return err
	}
	if len(b.verdicts) != n {
		return fmt.Errorf("function: %d verdicts on %d records", len(b.verdicts), n)
	}
	made := 0
	for i, v := range b.verdicts {
		switch v.Kind {
		case transform.Unchanged, transform.Dropped, transform.Refused:
		case transform.Changed:
			made++
		case transform.Split:
			made += max(0, v.Parts)
		default:
			return fmt.Errorf("function: verdict %d on the record at %d", v.Kind, b.chunk.At(i).Pos)
		}
	}
	if made != b.out.Len() {
		return fmt.Errorf("function: %d records returned, its verdicts announce %d", b.out.Len(), made)
	}
	return nil
}

// record settles one record, or encodes it; out is the index of its first new record, n how many it has.
func (b *builder) record(r *hydrant.Record, v transform.Verdict, out int) (n int, err error) {
	one := buffer.Totals{Records: 1, Bytes: int64(len(r.Data))}
	b.entry.read.Add(one)
	var why *sinks.Refusal
	var sub uint32
	switch v.Kind {
	case transform.Dropped:
		b.entry.dropped.Add(one)
		return 0, b.odd.note(r.Pos, 1, 0)
	case transform.Refused:
		b.entry.refused.Add(one)
		return 0, b.refuse(r, transformFailed, refused{why: sinks.Refusal{Code: v.Code, Message: v.Reason}, attempts: b.attempts})
	case transform.Changed:
		n = 1
		why, err = b.add(b.part(r, b.out.At(out), 0))
	case transform.Split:
		n = max(0, v.Parts)
		for i := 0; i < n && err == nil; i++ {
			refusal, aerr := b.add(b.part(r, b.out.At(out+i), uint32(i+1)))
			if err = aerr; refusal != nil && why == nil {
				why, sub = refusal, uint32(i+1) // a record is refused if any of its parts is
			}
		}
	default:
		why, err = b.add(r)
	}
	switch {
	case err != nil:
		return n, err
	case why != nil:
		b.entry.refused.Add(one)
		return n, b.refuse(r, encodeFailed, refused{why: *why, attempts: 1, sub: sub})
	case v.Kind == transform.Split && n == 0:
		b.entry.dropped.Add(one)
		return n, b.odd.note(r.Pos, 1, 0)
	case v.Kind == transform.Split:
		b.entry.ok.Add(one)
		return n, b.odd.note(r.Pos, 1, n)
	}
	b.entry.ok.Add(one)
	return n, nil
}

// part gives a record that the function made the identity of the one it was made of.
func (b *builder) part(of, made *hydrant.Record, sub uint32) *hydrant.Record {
	p := *of
	p.Sub, p.Data, p.Partial = sub, made.Data, of.Partial && sub == 0
	if made.Key != nil {
		p.Key = made.Key
	}
	return &p
}

// add encodes a record. The refusal is the encoder's word on it.
func (b *builder) add(r *hydrant.Record) (*sinks.Refusal, error) {
	if b.encoder == nil {
		enc, err := b.d.o.Sink.Encoder(b.id, part{b.folder, toTarget.prefix()})
		if err != nil {
			return nil, err
		}
		b.encoder = enc
	}
	err := b.encoder.Add(r)
	var why *sinks.Refusal
	if errors.As(err, &why) {
		return why, nil
	}
	if err == nil {
		b.added++
	}
	return nil, err
}

// refuse writes the error record of r.
func (b *builder) refuse(r *hydrant.Record, s suffix, v refused) (err error) {
	if b.errors[s] == nil {
		if b.errors[s], err = b.d.openErrors(b.id, s, b.folder); err != nil {
			return err
		}
	}
	v.ended = b.d.o.Clock.Wall().UnixMilli()
	if err := b.errors[s].add(b.id, r, v); err != nil {
		return fmt.Errorf("error output: %w", err)
	}
	return b.odd.note(r.Pos, 1, 0)
}

// lost counts damage (I5): once, in the Ready of the batch that covers it.
func (b *builder) lost(c *buffer.Corrupt) error {
	lost := hydrant.Span{From: max(c.Lost.From, b.at), To: c.Lost.To}
	records := c.Records
	lost.To = min(lost.To, b.limit)
	if lost != c.Lost {
		records = lost.Len()
	}
	b.d.logger.Error("records are damaged", "span", lost.String(), "records", records, "err", c)
	b.entry.damaged.Add(buffer.Totals{Records: records, Bytes: b.d.bytesOf(b.reader, lost)})
	if lost.Len() <= 0 {
		return nil
	}
	return b.odd.note(lost.From, lost.Len(), 0)
}

// stumble is for what may pass by itself: it waits, holding no chunk, and lets fill go on where it is.
func (b *builder) stumble(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, buffer.ErrLapsed) {
		err = sinks.Operator(fmt.Errorf("position %d: %w", b.at, err), "report this: the log freed what a delivery had not settled")
	}
	b.rest()
	b.trouble.failed(what, hydrant.Span{From: b.at, To: b.limit}, err)
	return b.d.pause(ctx, b.trouble.tries, hydrant.Never)
}

// chunks is what is taken of the memory budget for what the log gives and the function makes of it: what is expected, or what
// it is.
func (b *builder) chunks() int64 {
	expected := int64(chunkMemory)
	if b.d.o.Transform != nil {
		expected *= 2
	}
	return max(expected, b.chunk.Cap()+b.out.Cap())
}

// encoding is what the encoders take.
func (b *builder) encoding() int64 {
	encoders := int64(1)
	for _, e := range b.errors {
		if e != nil {
			encoders++
		}
	}
	return encoders * encoderMemory
}

// spooled is what lies in the spool, in bytes.
func (b *builder) spooled() (n int64) {
	if b.encoder != nil {
		n = b.encoder.Size()
	}
	for _, e := range b.errors {
		if e != nil {
			n += e.encoder.Size()
		}
	}
	return n
}

func (b *builder) empty() {
	b.chunk.Reset()
	b.out.Reset()
}

// rest gives back the memory of the chunk.
func (b *builder) rest() {
	b.chunk, b.out, b.verdicts = hydrant.Batch{}, hydrant.Batch{}, nil
	if n := b.encoding(); b.lease.held > n {
		b.lease.memory.Give(b.lease.held - n)
		b.lease.held = n
	}
}

// finish ends the files and makes them durable: all that Ready says is on the disk when it returns.
func (b *builder) finish() (ready, error) {
	var outputs []output
	if b.encoder != nil && b.added == 0 {
		b.encoder.Abort() // it refused all it was given: there is nothing to send
		b.encoder = nil
	}
	if b.encoder != nil {
		named, err := b.encoder.Finish(b.at)
		if err != nil {
			return ready{}, err
		}
		outputs = outputsOf(roleRecords, toTarget, named)
	}
	for _, e := range b.errors {
		if e == nil {
			continue
		}
		named, err := e.finish(b.at)
		if err != nil {
			return ready{}, fmt.Errorf("error output: %w", err)
		}
		outputs = append(outputs, named...)
	}
	odd, err := b.odd.finish()
	if err != nil {
		return ready{}, err
	}
	outputs = append(outputs, odd...)
	if len(outputs) == 0 {
		b.folder.drop()
	} else if err := b.folder.seal(outputs); err != nil {
		return ready{}, err
	}
	b.entry.span.To, b.entry.outputs = b.at, outputs
	sum := b.entry.ok
	sum.Add(b.entry.refused)
	sum.Add(b.entry.dropped)
	if sum != b.entry.read {
		panic(fmt.Sprintf("BUG: batch %d: read %v, accounted for %v", b.number, b.entry.read, sum))
	}
	b.encoder, b.errors = nil, [suffixes]*errorFile{}
	b.lease.end()
	return b.entry, nil
}

// abandon gives up what was built.
func (b *builder) abandon() {
	if b.encoder != nil {
		b.encoder.Abort()
	}
	for _, e := range b.errors {
		if e != nil {
			e.encoder.Abort()
		}
	}
	b.folder.drop()
	b.lease.end()
	b.trouble.leave()
}
