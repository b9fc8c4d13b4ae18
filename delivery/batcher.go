package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

// builder makes one batch: it reads from the log, asks the function, encodes into the spool. It is for one goroutine.
//
// A batch ends just behind the record that reaches the size; when the interval has passed since its first record
// was seen; where the run changes (I9); where its claim ends; where the disk or the spool's share does; when draining,
// at the end of the log.
type builder struct {
	d      *Delivery
	reader buffer.Reader
	number uint64
	limit  hydrant.Position // where it ends at the latest; 0 = live: not known yet
	room   int64            // bytes of spool that it may take

	at       hydrant.Position // everything before it is in the batch
	seen     bool             // the first record, or damage, has been seen
	deadline time.Duration    // of a live batch, once seen
	ended    bool
	trouble  trouble

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

func (d *Delivery) newBuilder(r buffer.Reader, from, limit hydrant.Position, room int64) *builder {
	number := d.nextNumber()
	f := d.spool.folder(number)
	return &builder{
		d: d, reader: r, number: number, limit: limit, room: room, at: from, folder: f,
		trouble: trouble{h: &d.health},
		id:      sinks.Batch{Pipeline: d.o.Pipeline, Destination: d.o.Destination, Log: d.log, From: from},
		entry:   ready{batch: number, span: hydrant.Span{From: from}},
		odd:     oddWriter{folder: f, next: from},
		lease:   lease{memory: d.o.Memory, clock: d.o.Clock},
	}
}

// fill builds until the batch ends. An error leaves nothing that could be used: abandon it.
func (b *builder) fill(ctx context.Context) error {
	for !b.ended && (b.limit == 0 || b.at < b.limit) {
		if b.limit == 0 && b.at > b.entry.span.From && b.d.o.Clock.Mono() >= b.deadline {
			break
		}
		draining := b.d.draining() // before the read: what it does not find then will not come
		if err := b.lease.want(ctx, b.cost(chunkMemory)); err != nil {
			return err
		}
		next, err := b.reader.Read(b.at, b.limit, &b.chunk)
		moved := next != b.at
		switch read, rerr := b.chunk.Len(), b.take(ctx, next, err); {
		case rerr != nil:
			return rerr
		case read > 0 || moved || err != nil:
		case b.limit != 0:
			err := fmt.Errorf("position %d: nothing to read, the batch ends at %d", b.at, b.limit)
			if err := b.stumble(ctx, "reading the log", err); err != nil {
				return err
			}
		case draining || b.d.hasLoose():
			b.ended = true
		default:
			if err := b.wait(ctx); err != nil {
				return err
			}
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
	if excess := b.chunk.Cap() + b.out.Cap() - chunkMemory; excess > 0 {
		if err := b.lease.want(ctx, b.cost(chunkMemory+excess)); err != nil {
			return err
		}
	}
	if b.chunk.Len() > 0 {
		whole, err := b.records(ctx)
		if err != nil || !whole {
			b.empty()
			return err
		}
	}
	b.empty()
	if b.limit != 0 && b.at >= b.limit {
		return nil // damage behind the cut is the next batch's affair
	}
	if damage != nil {
		if err := b.lost(damage); err != nil {
			return err
		}
	}
	b.at = max(b.at, next)
	if b.limit != 0 {
		b.at = min(b.at, b.limit)
	}
	return nil
}

// records works off the chunk. Whole is false when it has to be read again, shorter or at all, or when the batch ended in it.
func (b *builder) records(ctx context.Context) (whole bool, err error) {
	if b.entry.read.Records > 0 && b.chunk.Run != b.entry.run {
		b.ended = true
		return false, nil
	}
	if b.cut() {
		return false, nil
	}
	b.see(b.chunk.At(0), b.chunk.Run)
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

// cut looks for the record that reaches the size of a live batch. If it lies in the chunk, the batch gets its
// limit there, and the chunk is read again up to it: functions get whole chunks.
func (b *builder) cut() bool {
	if b.limit != 0 {
		return false
	}
	sum := b.entry.read.Bytes
	for i := range b.chunk.Len() {
		if sum += int64(len(b.chunk.At(i).Data)); sum >= b.d.o.Batch.Size {
			b.limit = b.chunk.At(i).Pos + 1
			return i < b.chunk.Len()-1
		}
	}
	return false
}

// see notes where and when the batch begins.
func (b *builder) see(first *hydrant.Record, run hydrant.RunID) {
	if b.entry.read.Records == 0 {
		b.entry.run, b.id.Run = run, run
		b.entry.time, b.id.Time = first.Time, first.Time
		b.d.oldest(b.number, b.entry.span.From, first.Time)
	}
	b.start()
}

func (b *builder) start() {
	if !b.seen {
		b.seen, b.deadline = true, b.d.o.Clock.Mono()+b.d.o.Batch.Interval
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
	if b.limit != 0 && lost.To > b.limit {
		lost.To = b.limit
	}
	if lost != c.Lost {
		records = lost.Len()
	}
	b.start()
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
	b.trouble.failed(what, hydrant.Span{From: b.at, To: max(b.at, b.limit)}, err)
	return b.d.pause(ctx, b.trouble.tries, hydrant.Never)
}

// wait waits for records, or for the end of the interval.
func (b *builder) wait(ctx context.Context) error {
	b.rest()
	until := hydrant.Never
	if b.seen && b.limit == 0 {
		until = b.deadline
	}
	err := b.d.waitFor(ctx, b.reader, b.at, until)
	if errors.Is(err, hydrant.ErrDeadline) {
		b.ended = true
		return nil
	}
	return err
}

// cost is what the batch holds of the memory budget while a chunk of n bytes is worked off.
func (b *builder) cost(n int64) int64 {
	if b.d.o.Transform != nil && n == chunkMemory {
		n *= 2
	}
	encoders := int64(1)
	for _, e := range b.errors {
		if e != nil {
			encoders++
		}
	}
	return n + encoders*encoderMemory
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
	if b.chunk.Cap() > smallArena {
		b.chunk = hydrant.Batch{}
	}
	b.empty()
	if b.out.Cap() > 0 {
		b.out = hydrant.Batch{}
	}
	b.verdicts = nil
	if n := b.cost(0); b.lease.held > n {
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
