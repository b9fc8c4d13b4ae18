package sinktest

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

// parcel is a Ready batch in the hands of a delivery: what it would remember, and what it does with it.
type parcel struct {
	sink    sinks.Sink
	batch   sinks.Batch
	to      hydrant.Position
	outputs []sinks.Output
	spool   *spool
	journal *journal
	attempt int
	resent  bool

	refused   []hydrant.Position
	delivered bool
}

// journal keeps what a sink saves, across restarts.
type journal struct {
	mu    sync.Mutex
	saved []byte
}

func (j *journal) save(b []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.saved = slices.Clone(b)
	return nil
}

func (j *journal) last() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.saved)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// build encodes records as a delivery does.
func build(t T, s sinks.Sink, b sinks.Batch, records []string) *parcel {
	t.Helper()
	p := &parcel{sink: s, batch: b, to: b.From + hydrant.Position(len(records)), spool: newSpool(), journal: &journal{}}
	e, err := s.Encoder(b, p.spool)
	if err != nil {
		t.Fatalf("encoder: %v", err)
	}
	add(t, e, b, records)
	p.outputs, err = e.Finish(p.to)
	if err != nil {
		t.Fatalf("finish: %v", err)
	}
	e.Abort() // does nothing any more
	if p.spool.open != 0 {
		t.Errorf("%d files of the spool are still open after Finish", p.spool.open)
	}
	for i := range p.outputs {
		o := &p.outputs[i]
		content, ok := p.spool.files[o.File]
		if !ok {
			t.Fatalf("output %q has no file in the spool", o.File)
		}
		o.Size, o.CRC = int64(content.Len()), crc32.Checksum(content.Bytes(), castagnoli)
		if o.Name == "" || o.Target == "" {
			t.Errorf("output %+v lacks a name or a target", *o)
		}
	}
	return p
}

// add encodes the records. A reused buffer shows whether the encoder keeps what it is given.
func add(t T, e sinks.Encoder, b sinks.Batch, records []string) {
	t.Helper()
	var data []byte
	for i, text := range records {
		data = append(data[:0], text...)
		r := hydrant.Record{Pos: b.From + hydrant.Position(i), Time: b.Time, Data: data}
		if err := e.Add(&r); err != nil {
			t.Fatalf("add: %v", err)
		}
		clear(data)
	}
	if e.Size() < 0 {
		t.Errorf("size: %d", e.Size())
	}
}

// restart is a new process that finds the batch Ready in its journal.
func (p *parcel) restart(s sinks.Sink) { p.sink, p.attempt, p.resent = s, 0, true }

func (p *parcel) shipment() *sinks.Shipment {
	s := sinks.NewShipment(p.batch, func(pos hydrant.Position, _ uint32, refusal *sinks.Refusal, delivered bool) {
		switch {
		case delivered && pos == 0:
			p.delivered = true
		case refusal != nil && !slices.Contains(p.refused, pos):
			p.refused = append(p.refused, pos)
		}
	})
	s.To, s.Number, s.Outputs = p.to, 1, slices.Clone(p.outputs)
	s.Attempt, s.Resent, s.Saved = p.attempt, p.resent || p.attempt > 1, p.journal.last()
	s.Open, s.Save = p.spool.read, p.journal.save
	return s
}

func (p *parcel) try() error {
	p.attempt++
	return p.sink.Ship(ctx(), p.shipment())
}

func (p *parcel) ship(t T) {
	t.Helper()
	if err := p.try(); err != nil {
		t.Fatalf("ship, attempt %d: %v", p.attempt, err)
	}
}

// persist ships until it works, as deliveries do.
func (p *parcel) persist(t T) {
	var err error
	for range 20 {
		if err = p.try(); err == nil {
			return
		}
	}
	t.Errorf("ship: %v, after %d attempts", err, p.attempt)
}

// swallow ships once while the target loses its answers.
func (p *parcel) swallow(t T, at Target) {
	t.Helper()
	at.Swallow()
	switch err := p.try(); {
	case err == nil:
		t.Fatalf("ship: nil, though the target's answer was lost")
	case sinks.IsUnsent(err):
		t.Errorf("ship: %v is marked as unsent, though it has reached the target", err)
	}
}

func (p *parcel) resolve(t T, there bool) {
	t.Helper()
	p.delivered = false
	if err := p.sink.Resolve(ctx(), p.shipment()); err != nil {
		t.Fatalf("resolve: %v", err)
	}
	if p.delivered != there {
		t.Errorf("resolve: delivered is %t, want %t", p.delivered, there)
	}
}

// spool is a spool in memory.
type spool struct {
	files map[string]*bytes.Buffer
	open  int
}

func newSpool() *spool { return &spool{files: map[string]*bytes.Buffer{}} }

// Create implements sinks.Spool.
func (s *spool) Create(name string) (io.WriteCloser, error) {
	if s.files[name] != nil {
		return nil, fmt.Errorf("%s: made twice", name)
	}
	s.files[name] = &bytes.Buffer{}
	s.open++
	return &spoolFile{s.files[name], s}, nil
}

type spoolFile struct {
	io.Writer
	spool *spool
}

func (f *spoolFile) Close() error {
	f.spool.open--
	return nil
}

func (s *spool) read(o sinks.Output) (sinks.Content, error) {
	return content{bytes.NewReader(s.files[o.File].Bytes())}, nil
}

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }
