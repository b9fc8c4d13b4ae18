package delivery

import (
	"encoding/binary"
	"fmt"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

// The types of journal entries; buffer/FORMAT.md, "Delivery journal entries", draws their bodies.
const (
	typeSnapshot uint8 = 1
	typeReady    uint8 = 2
	typeSave     uint8 = 3
	typeOutcome  uint8 = 4
	typeDone     uint8 = 5
	typeOptional uint8 = 128 // from here on an entry that is not known may be skipped
)

const snapshotVersion = 1

// snapshot is the state of a journal without the batches that still have entries.
type snapshot struct {
	start     hydrant.Position // where the delivery began
	before    buffer.Totals    // what the log had appended by then, before start
	nextBatch uint64
	sums      Ledger
}

// ready says that a batch is spooled and synced: these bytes, under these names, are what is sent (I8).
type ready struct {
	batch   uint64
	run     hydrant.RunID
	span    hydrant.Span
	time    int64 // arrival of the first record, Unix ms
	ok      buffer.Totals
	refused buffer.Totals
	dropped buffer.Totals
	damaged buffer.Totals
	read    buffer.Totals // counted on reading; = ok + refused + dropped
	outputs []output
}

// role says what an output of a batch is.
type role uint8

const (
	roleRecords role = 0
	roleErrors  role = 1
	roleOdd     role = 2 // never sent: which positions were left out or split; see odd.go
)

type output struct {
	role role
	sinks.Output
}

// save is a sink's own note on a shipment of a batch; the last one counts.
type save struct {
	batch uint64
	note  []byte
	to    suffix // which of the batch's shipments it is about
}

// outcome is the target's last word on a batch, with the error output it led to (I11).
type outcome struct {
	batch   uint64
	refused buffer.Totals
	outputs []output
	damaged buffer.Totals // to be refused, but could no longer be read
}

// done settles a batch.
type done struct {
	batch uint64
	sums  Ledger
}

func (s snapshot) entry() buffer.Entry {
	b := binary.LittleEndian.AppendUint16(nil, snapshotVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.start))
	b = appendTotals(b, s.before)
	b = binary.LittleEndian.AppendUint64(b, s.nextBatch)
	return buffer.Entry{Type: typeSnapshot, Body: appendLedger(b, s.sums)}
}

func (r ready) entry() buffer.Entry {
	b := binary.LittleEndian.AppendUint64(nil, r.batch)
	b = append(b, r.run[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.span.From))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.span.To))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.time))
	for _, t := range []buffer.Totals{r.ok, r.refused, r.dropped, r.damaged, r.read} {
		b = appendTotals(b, t)
	}
	return buffer.Entry{Type: typeReady, Body: appendOutputs(b, r.outputs)}
}

func (s save) entry() buffer.Entry {
	b := binary.LittleEndian.AppendUint64(nil, s.batch)
	b = appendString(b, string(s.note))
	return buffer.Entry{Type: typeSave, Body: append(b, uint8(s.to))}
}

func (o outcome) entry() buffer.Entry {
	b := binary.LittleEndian.AppendUint64(nil, o.batch)
	b = appendTotals(b, o.refused)
	b = appendOutputs(b, o.outputs)
	return buffer.Entry{Type: typeOutcome, Body: appendTotals(b, o.damaged)}
}

func (d done) entry() buffer.Entry {
	b := binary.LittleEndian.AppendUint64(nil, d.batch)
	return buffer.Entry{Type: typeDone, Body: appendLedger(b, d.sums)}
}

func appendTotals(b []byte, t buffer.Totals) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Records))
	return binary.LittleEndian.AppendUint64(b, uint64(t.Bytes))
}

func appendLedger(b []byte, l Ledger) []byte {
	for _, t := range []buffer.Totals{l.Delivered, l.Refused, l.Dropped, l.Damaged} {
		b = appendTotals(b, t)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func appendOutputs(b []byte, outputs []output) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(outputs)))
	for _, o := range outputs {
		b = append(b, uint8(o.role))
		for _, s := range []string{o.File, o.Target, o.Name, o.Encoding} {
			b = appendString(b, s)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(o.Size))
		b = binary.LittleEndian.AppendUint32(b, o.CRC)
	}
	return b
}

// decodeEntry returns a snapshot, ready, save, outcome or done; nil for an entry that may be skipped.
func decodeEntry(e buffer.Entry) (any, error) {
	b := body{rest: e.Body}
	var v any
	switch e.Type {
	case typeSnapshot:
		if version := b.u16(); version > snapshotVersion {
			return nil, fmt.Errorf("journal snapshot: version %d, this binary knows %d: %w", version, snapshotVersion, buffer.ErrNewerFormat)
		}
		v = snapshot{start: b.position(), before: b.totals(), nextBatch: b.u64(), sums: b.ledger()}
	case typeReady:
		v = ready{
			batch: b.u64(), run: hydrant.RunID(b.take(4)), span: hydrant.Span{From: b.position(), To: b.position()}, time: int64(b.u64()),
			ok: b.totals(), refused: b.totals(), dropped: b.totals(), damaged: b.totals(), read: b.totals(), outputs: b.outputs(),
		}
	case typeSave:
		s := save{batch: b.u64(), note: []byte(b.str())}
		if len(b.rest) > 0 {
			s.to = suffix(b.u8())
		}
		v = s
	case typeOutcome:
		o := outcome{batch: b.u64(), refused: b.totals(), outputs: b.outputs()}
		if len(b.rest) > 0 {
			o.damaged = b.totals()
		}
		v = o
	case typeDone:
		v = done{batch: b.u64(), sums: b.ledger()}
	default:
		if e.Type >= typeOptional {
			return nil, nil
		}
		return nil, fmt.Errorf("journal entry: type %d: %w", e.Type, buffer.ErrNewerFormat)
	}
	if b.short {
		return nil, fmt.Errorf("journal entry of type %d: ends within its fields (%d bytes)", e.Type, len(e.Body))
	}
	return v, nil
}

// body reads fields from the front. Once one does not fit, short is set and all are zero.
type body struct {
	rest  []byte
	short bool
}

func (b *body) take(n uint32) []byte {
	if b.short || uint64(n) > uint64(len(b.rest)) {
		b.short = true
		return make([]byte, min(n, 8))
	}
	p := b.rest[:n]
	b.rest = b.rest[n:]
	return p
}

func (b *body) u8() uint8                  { return b.take(1)[0] }
func (b *body) u16() uint16                { return binary.LittleEndian.Uint16(b.take(2)) }
func (b *body) u32() uint32                { return binary.LittleEndian.Uint32(b.take(4)) }
func (b *body) u64() uint64                { return binary.LittleEndian.Uint64(b.take(8)) }
func (b *body) position() hydrant.Position { return hydrant.Position(b.u64()) }

func (b *body) str() string {
	p := b.take(b.u32())
	if b.short {
		return ""
	}
	return string(p)
}

func (b *body) totals() buffer.Totals {
	return buffer.Totals{Records: int64(b.u64()), Bytes: int64(b.u64())}
}

func (b *body) ledger() Ledger {
	return Ledger{Delivered: b.totals(), Refused: b.totals(), Dropped: b.totals(), Damaged: b.totals()}
}

func (b *body) outputs() []output {
	var outputs []output
	for n := b.u32(); n > 0 && !b.short; n-- {
		o := output{role: role(b.u8())}
		o.File, o.Target, o.Name, o.Encoding = b.str(), b.str(), b.str(), b.str()
		o.Size, o.CRC = int64(b.u64()), b.u32()
		outputs = append(outputs, o)
	}
	return outputs
}
