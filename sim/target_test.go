package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// target is a destination made for tests: it refuses records by their content, keeps notes of its own, and is as unreliable as a
// network. It outlives the daemon. What it was sent under a name must always be the same bytes.
type target struct {
	w       *World
	Faults  targetFaults
	shelf   map[string]*shelved
	late    map[string]int // requests that are still on their way, by name
	broken  []string       // what should never have happened
	refuses bool           // records of class odd
}

type targetFaults struct{ Unsent, Before, After, Hang, Late int } // of a million

type shelved struct {
	data  []byte
	there bool   // the store has it; else it has only been named to it
	tried []byte // the last note that was on its way to the journal
	noted []byte // the last note whose save succeeded
}

func newTarget(w *World, refuses bool) *target {
	return &target{w: w, shelf: map[string]*shelved{}, late: map[string]int{}, refuses: refuses}
}

func (t *target) clone() *target {
	c := newTarget(t.w, t.refuses)
	c.Faults = t.Faults
	for name, s := range t.shelf {
		copied := *s
		c.shelf[name] = &copied
	}
	return c // what is still on its way reaches the first one only
}

// names of everything that is there, in order.
func (t *target) names() []string {
	var all []string
	for name, s := range t.shelf {
		if s.there {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// open is the sink of one process.
func (t *target) open(p *Process) sinks.Sink { return &targetSink{t, p} }

type targetSink struct {
	t *target
	p *Process
}

func (s *targetSink) Close() error { return nil }

// Encoder implements sinks.Sink: a row is the record's position, sub and data.
func (s *targetSink) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	f, err := sp.Create("rows")
	if err != nil {
		return nil, err
	}
	return &rows{batch: b, file: f}, nil
}

type rows struct {
	batch sinks.Batch
	file  io.WriteCloser
	size  int64
	count int
	done  bool
}

func (e *rows) Add(r *hydrant.Record) error {
	if classOf(r.Data) == unfit {
		return &sinks.Refusal{Code: "Unfit", Message: "this record cannot be encoded"}
	}
	b := binary.AppendUvarint(nil, uint64(r.Pos))
	b = binary.AppendUvarint(b, uint64(r.Sub))
	b = binary.AppendUvarint(b, uint64(len(r.Data)))
	b = append(b, r.Data...)
	n, err := e.file.Write(b)
	e.size += int64(n)
	e.count++
	return err
}

func (e *rows) Size() int64 { return e.size }

func (e *rows) Finish(to hydrant.Position) ([]sinks.Output, error) {
	e.done = true
	if err := e.file.Close(); err != nil || e.count == 0 {
		return nil, err
	}
	b := e.batch
	name := fmt.Sprintf("%s-%s-%s-%s-%016d-%016d%s", b.Pipeline, b.Destination, b.Log, b.Run, b.From, to, b.Suffix)
	return []sinks.Output{{File: "rows", Target: "target", Name: name}}, nil
}

func (e *rows) Abort() {
	if !e.done {
		e.done = true
		_ = e.file.Close() // the file is thrown away
	}
}

type row struct {
	pos  hydrant.Position
	sub  uint32
	data []byte
}

func parseRows(b []byte) ([]row, error) {
	var all []row
	for len(b) > 0 {
		var v [3]uint64
		for i := range v {
			x, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, fmt.Errorf("row %d: no number", len(all))
			}
			v[i], b = x, b[n:]
		}
		if v[2] > uint64(len(b)) {
			return nil, fmt.Errorf("row %d: %d bytes of data, want %d", len(all), len(b), v[2])
		}
		all = append(all, row{hydrant.Position(v[0]), uint32(v[1]), b[:v[2]]})
		b = b[v[2]:]
	}
	return all, nil
}

func (s *targetSink) broken(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	s.t.broken = append(s.t.broken, err.Error())
	return err
}

// Ship implements sinks.Sink.
func (s *targetSink) Ship(ctx context.Context, sh *sinks.Shipment) error {
	for _, o := range sh.Outputs {
		if err := s.ship(ctx, sh, o); err != nil {
			return err
		}
	}
	return nil
}

func (s *targetSink) ship(ctx context.Context, sh *sinks.Shipment, o sinks.Output) error {
	w := s.t.w
	data, err := contents(sh, o)
	if err != nil {
		return sinks.Unsent(err)
	}
	on := s.t.shelf[o.Name]
	if on == nil {
		on = &shelved{data: data}
		s.t.shelf[o.Name] = on
	}
	if !bytes.Equal(on.data, data) {
		return s.broken("%s: sent again with other bytes", o.Name)
	}
	if len(on.noted) > 0 && !bytes.Equal(sh.Saved, on.noted) && !bytes.Equal(sh.Saved, on.tried) {
		return s.broken("%s: the note %q was saved and %q is there", o.Name, on.noted, sh.Saved)
	}
	if bytes.Equal(sh.Saved, on.tried) {
		on.noted = on.tried // it was durable, although nobody said so
	}
	if len(sh.Saved) == 0 || w.chance(300_000) {
		note := fmt.Appendf(nil, "%s/%d", o.Name, w.Rand.IntN(1000))
		on.tried = note
		if err := sh.Save(note); err != nil {
			return sinks.Unsent(err)
		}
		on.noted = note
	}
	s.p.enter("send", o.Name, int64(len(data)), 0)
	f := s.t.Faults
	switch {
	case w.chance(f.Unsent):
		return sinks.Unsent(errors.New("connection refused"))
	case w.chance(f.Before):
		return errors.New("connection reset")
	case w.chance(f.Hang):
		return s.hang(ctx)
	case w.chance(f.Late):
		s.t.late[o.Name]++
		w.At(w.between(0, time.Minute), func() {
			s.t.late[o.Name]--
			on.there = true
		})
		return s.hang(ctx)
	}
	s.p.Sleep(w.between(0, 100*time.Millisecond))
	on.there = true
	if w.chance(f.After) {
		return errors.New("connection reset before the answer")
	}
	return s.judge(sh, data)
}

// judge refuses what is odd.
func (s *targetSink) judge(sh *sinks.Shipment, data []byte) error {
	all, err := parseRows(data)
	if err != nil {
		return s.broken("rows do not parse: %w", err)
	}
	for _, r := range all {
		if s.t.refuses && classOf(r.data) == odd {
			sh.Refuse(r.pos, r.sub, sinks.Refusal{Code: "Odd", Message: "this record is odd"})
		}
	}
	return nil
}

func (s *targetSink) hang(ctx context.Context) error {
	_ = s.p.Wait(ctx, s.p.World.now-s.p.born+10*time.Minute)
	return errors.Join(errors.New("no answer"), ctx.Err())
}

// Resolve implements sinks.Sink.
func (s *targetSink) Resolve(ctx context.Context, sh *sinks.Shipment) error {
	s.p.enter("resolve", "", int64(sh.Number), 0)
	if s.t.w.chance(s.t.Faults.Before) {
		return errors.New("connection reset")
	}
	for _, o := range sh.Outputs {
		if s.t.late[o.Name] > 0 {
			return errors.New("a request is still on its way")
		}
		on := s.t.shelf[o.Name]
		if on == nil || !on.there {
			continue
		}
		all, err := parseRows(on.data)
		if err != nil {
			return s.broken("rows do not parse: %w", err)
		}
		for _, r := range all {
			if !s.t.refuses || classOf(r.data) != odd {
				sh.Delivered(r.pos, r.sub)
			}
		}
	}
	return nil
}

// contents reads a spooled file and holds it against what Ready says of it.
func contents(sh *sinks.Shipment, o sinks.Output) ([]byte, error) {
	c, err := sh.Open(o)
	if err != nil {
		return nil, err
	}
	b := make([]byte, o.Size)
	_, err = c.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	if sum := crc32.Checksum(b, castagnoli); sum != o.CRC && !hydrant.Sabotaged(hydrant.RuleCheckCRC) {
		return nil, fmt.Errorf("%s: crc %08x, want %08x", o.Name, sum, o.CRC)
	}
	return b, nil
}
