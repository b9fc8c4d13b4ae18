package sinktest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a target in memory, and the ways to get it wrong.
type memory struct {
	mu      sync.Mutex
	objects map[string]string
	swallow bool
	bad     string

	doubling    bool // each attempt makes an object of its own
	lossy       bool // the last record of a batch is lost
	careless    bool // a resent batch is taken for delivered without looking
	sloppyNames bool // names leave out log and run
	blind       bool // Resolve finds nothing
	credulous   bool // Resolve finds everything
	keeping     bool // the encoder keeps the data it is given
	hiding      bool // refused records are not marked
	leaking     bool // Abort leaves the file open
	denying     bool // errors are marked as unsent
}

func (m *memory) target() Target {
	return Target{
		Open: func() (sinks.Sink, error) { return &memorySink{m}, nil },
		Read: func() ([]string, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			var out []string
			for _, text := range m.objects {
				out = append(out, strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })...)
			}
			return out, nil
		},
		Swallow: func() { m.swallow = true },
		Bad:     m.bad,
	}
}

type memorySink struct{ *memory }

func (m *memorySink) Close() error { return nil }

func (m *memorySink) Encoder(b sinks.Batch, sp sinks.Spool) (sinks.Encoder, error) {
	w, err := sp.Create("object")
	return &memoryEncoder{m: m.memory, b: b, w: w}, err
}

type memoryEncoder struct {
	m    *memory
	b    sinks.Batch
	w    io.WriteCloser
	kept [][]byte
	size int64
	done bool
}

func (e *memoryEncoder) Add(r *hydrant.Record) error {
	data := append([]byte(nil), r.Data...)
	if e.m.keeping {
		data = r.Data
	}
	e.kept = append(e.kept, data)
	e.size += int64(len(data))
	return nil
}

func (e *memoryEncoder) Size() int64 { return e.size }

func (e *memoryEncoder) Finish(to hydrant.Position) ([]sinks.Output, error) {
	if e.m.lossy && len(e.kept) > 0 {
		e.kept = e.kept[:len(e.kept)-1]
	}
	for _, data := range e.kept {
		_, _ = e.w.Write(append(data, '\n'))
	}
	e.done = true
	_ = e.w.Close()
	if len(e.kept) == 0 {
		return nil, nil
	}
	name := e.b.Log.String() + e.b.Run.String()
	if e.m.sloppyNames {
		name = ""
	}
	return []sinks.Output{{File: "object", Target: "memory", Name: name + hydrant.Span{From: e.b.From, To: to}.String()}}, nil
}

func (e *memoryEncoder) Abort() {
	if !e.done && !e.m.leaking {
		_ = e.w.Close()
	}
	e.done = true
}

func (m *memorySink) Ship(_ context.Context, s *sinks.Shipment) error {
	for _, o := range s.Outputs {
		c, err := s.Open(o)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.NewSectionReader(c, 0, o.Size))
		if err != nil {
			return err
		}
		m.keep(s, o.Name, string(text))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.swallow {
		m.swallow = false
		err := errors.New("the answer is lost")
		if m.denying {
			return sinks.Unsent(err)
		}
		return err
	}
	return nil
}

func (m *memorySink) keep(s *sinks.Shipment, name, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.careless && s.Resent || m.careless && m.swallow {
		return
	}
	pos := s.From
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if m.bad != "" && strings.TrimSuffix(line, "\n") == m.bad {
			if !m.hiding {
				s.Refuse(pos, 0, sinks.Refusal{Code: "Bad", Message: "bad"})
			}
		} else {
			kept.WriteString(line)
		}
		pos++
	}
	for m.doubling && m.objects[name] != "" {
		name += "again"
	}
	m.objects[name] = kept.String()
}

func (m *memorySink) Resolve(_ context.Context, s *sinks.Shipment) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range s.Outputs {
		if m.objects[o.Name] == "" && !m.credulous || m.blind {
			return nil
		}
	}
	s.Delivered(0, 0)
	return nil
}

func TestAGoodSinkPasses(t *testing.T) {
	Run(t, func(*testing.T) Target { return (&memory{objects: map[string]string{}, bad: "bad"}).target() })
}

func TestBadSinksFail(t *testing.T) {
	for name, spoil := range map[string]func(*memory){
		"one that loses a record":                  func(m *memory) { m.lossy = true },
		"one that doubles what is sent again":      func(m *memory) { m.doubling = true },
		"one that trusts what was never confirmed": func(m *memory) { m.careless = true },
		"one whose names collide":                  func(m *memory) { m.sloppyNames = true },
		"one that never finds anything":            func(m *memory) { m.blind = true },
		"one that finds what is not there":         func(m *memory) { m.credulous = true },
		"one whose encoder keeps the data":         func(m *memory) { m.keeping = true },
		"one that does not mark what it refuses":   func(m *memory) { m.hiding, m.bad = true, "bad" },
		"one whose aborted encoder leaves files":   func(m *memory) { m.leaking = true },
		"one that calls what was sent never sent":  func(m *memory) { m.denying = true },
	} {
		failed := Failures(func() Target {
			m := &memory{objects: map[string]string{}}
			spoil(m)
			return m.target()
		})
		if len(failed) == 0 {
			t.Errorf("%s passes the suite", name)
		}
	}
	if failed := Failures(func() Target { return (&memory{objects: map[string]string{}}).target() }); len(failed) != 0 {
		t.Errorf("a good sink fails %q", failed)
	}
}
