package delivery

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
)

func sample() (snapshot, ready, save, outcome, done) {
	out := output{roleErrors, sinks.Output{File: "f", Target: "b", Name: "k", Encoding: "gzip", Size: 5, CRC: 0x01020304}}
	l := Ledger{Delivered: buffer.Totals{Records: 1, Bytes: 2}, Refused: buffer.Totals{Records: 3, Bytes: 4}, Dropped: buffer.Totals{Records: 5, Bytes: 6}, Damaged: buffer.Totals{Records: 7, Bytes: 8}}
	return snapshot{start: 9, before: buffer.Totals{Records: 8, Bytes: 80}, nextBatch: 3, sums: l},
		ready{
			batch: 2, run: hydrant.RunID{0xa, 0xb, 0xc, 0xd}, span: hydrant.Span{From: 9, To: 19}, time: 1000,
			ok: l.Delivered, refused: l.Refused, dropped: l.Dropped, damaged: l.Damaged, read: buffer.Totals{Records: 9, Bytes: 12}, outputs: []output{out},
		},
		save{batch: 2, note: []byte("note"), to: deliveryFailed},
		outcome{batch: 2, refused: l.Refused, outputs: []output{out}, damaged: l.Damaged},
		done{batch: 2, sums: l}
}

// The golden vectors: what FORMAT.md draws, byte for byte.
func TestEntriesAreAsTheFormatDrawsThem(t *testing.T) {
	const (
		u1to8  = "01000000000000000200000000000000030000000000000004000000000000000500000000000000060000000000000007000000000000000800000000000000"
		out    = "01000000" + "01" + "0100000066" + "0100000062" + "010000006b" + "04000000677a6970" + "0500000000000000" + "04030201"
		batch2 = "0200000000000000"
	)
	s, r, v, o, d := sample()
	for _, tt := range []struct {
		name string
		got  buffer.Entry
		kind uint8
		want string
	}{
		{"Snapshot", s.entry(), 1, "0100" + "0900000000000000" + "08000000000000005000000000000000" + "0300000000000000" + u1to8},
		{"Ready", r.entry(), 2, batch2 + "0a0b0c0d" + "0900000000000000" + "1300000000000000" + "e803000000000000" + u1to8 +
			"09000000000000000c00000000000000" + out},
		{"Save", v.entry(), 3, batch2 + "040000006e6f7465" + "03"},
		{"Outcome", o.entry(), 4, batch2 + u1to8[32*1:32*2] + out + u1to8[32*3:]},
		{"Done", d.entry(), 5, batch2 + u1to8},
	} {
		if got := hex.EncodeToString(tt.got.Body); tt.got.Type != tt.kind || got != tt.want {
			t.Errorf("%s: type %d\n got %s\nwant %s", tt.name, tt.got.Type, got, tt.want)
		}
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	s, r, v, o, d := sample()
	for _, want := range []any{s, r, v, o, d} {
		e := want.(interface{ entry() buffer.Entry }).entry()
		got, err := decodeEntry(e)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		longer := buffer.Entry{Type: e.Type, Body: append(e.Body[:len(e.Body):len(e.Body)], "a later addition"...)}
		if _, err := decodeEntry(longer); err != nil {
			t.Errorf("%T with a later addition: %v", want, err)
		}
		for n := range len(e.Body) {
			_, err := decodeEntry(buffer.Entry{Type: e.Type, Body: e.Body[:n]})
			whole := e.Type == typeSave && n == len(e.Body)-1 || e.Type == typeOutcome && n == len(e.Body)-16 // without their additions
			if (err == nil) != whole {
				t.Errorf("%T cut to %d of %d bytes: %v", want, n, len(e.Body), err)
			}
		}
	}
}

func TestReplayTellsAJournalThatCannotBe(t *testing.T) {
	span := func(from, to hydrant.Position) hydrant.Span { return hydrant.Span{From: from, To: to} }
	tests := []struct {
		name      string
		committed hydrant.Position
		entries   []any
		want      string // part of the error; "" = none
	}{
		{"nothing done yet", 5, []any{snapshot{start: 5}}, ""},
		{"one batch done", 9, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}, done{batch: 1}}, ""},
		{"the second done before the first", 5, []any{snapshot{start: 5}, ready{batch: 2, span: span(9, 12)}, ready{batch: 1, span: span(5, 9)}, done{batch: 2}}, ""},
		{"a snapshot long after the start", 100, []any{snapshot{start: 5, nextBatch: 40}, ready{batch: 41, span: span(100, 120)}}, ""},
		{"no snapshot", 5, []any{ready{batch: 1, span: span(5, 9)}}, "a snapshot comes first"},
		{"two snapshots", 5, []any{snapshot{start: 5}, snapshot{start: 5}}, "a snapshot comes first"},
		{"two batches on one span", 5, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}, ready{batch: 2, span: span(8, 12)}}, "not free"},
		{"a batch before the start", 5, []any{snapshot{start: 5}, ready{batch: 1, span: span(4, 9)}}, "not free"},
		{"an empty batch", 5, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 5)}}, "not free"},
		{"a Save for no batch", 5, []any{snapshot{start: 5}, save{batch: 1}}, "not under way"},
		{"an Outcome for no batch", 5, []any{snapshot{start: 5}, outcome{batch: 1}}, "not under way"},
		{"two Outcomes", 5, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}, outcome{batch: 1}, outcome{batch: 1}}, "two outcomes"},
		{"Done twice", 9, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}, done{batch: 1}, done{batch: 1}}, "not under way"},
		{"committed past a batch that is not done", 9, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}}, "is not done"},
		{"committed within a batch", 7, []any{snapshot{start: 5}, ready{batch: 1, span: span(5, 9)}, done{batch: 1}}, "is not done"},
		{"committed before the start", 4, []any{snapshot{start: 5}}, "before its start"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log []buffer.Entry
			for _, v := range tt.entries {
				log = append(log, v.(interface{ entry() buffer.Entry }).entry())
			}
			s, err := replay(tt.committed, log)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			if s.committed != tt.committed {
				t.Errorf("committed %d, want %d", s.committed, tt.committed)
			}
			if len(s.open) == 0 {
				s.open = nil
			}
			again, err := replay(s.committed, s.snapshot())
			if err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("its snapshot says %+v, %v; want %+v", again, err, s)
			}
		})
	}
}

func TestEntriesOfNewerVersionsAreToldApartFromDamage(t *testing.T) {
	if _, err := decodeEntry(buffer.Entry{Type: 6}); !errors.Is(err, buffer.ErrNewerFormat) {
		t.Errorf("type 6: %v", err)
	}
	if _, err := decodeEntry(buffer.Entry{Type: typeSnapshot, Body: []byte{2, 0}}); !errors.Is(err, buffer.ErrNewerFormat) {
		t.Errorf("snapshot of version 2: %v", err)
	}
	if v, err := decodeEntry(buffer.Entry{Type: 200, Body: []byte("anything")}); v != nil || err != nil {
		t.Errorf("type 200: %v, %v; want it skipped", v, err)
	}
}

func TestCommittedIsTheEndOfTheUnbrokenRowOfDones(t *testing.T) {
	s := &state{start: 1, committed: 1, nextBatch: 1}
	step := func(want hydrant.Position, frame ...any) {
		t.Helper()
		if got := s.with(frame); got != want {
			t.Errorf("before: committed will be %d, want %d", got, want)
		}
		for _, v := range frame {
			if err := s.apply(v); err != nil {
				t.Fatal(err)
			}
		}
		s.advance()
		if s.committed != want {
			t.Errorf("after: committed %d, want %d", s.committed, want)
		}
	}
	batch := func(n uint64, from, to hydrant.Position) ready {
		return ready{batch: n, span: hydrant.Span{From: from, To: to}}
	}
	step(1, batch(2, 10, 20))
	step(1, batch(3, 20, 30), done{batch: 2})
	step(1, batch(1, 1, 10))
	step(20, done{batch: 1})
	step(20, batch(5, 40, 50))
	step(30, done{batch: 5}, done{batch: 3})
	step(30, batch(4, 30, 40))
	step(50, done{batch: 4})
	if len(s.open) != 0 {
		t.Errorf("%d batches are remembered", len(s.open))
	}
}

func TestAFrameIsSyncedAsTheGravestOfItsEntries(t *testing.T) {
	for _, tt := range []struct {
		frame []any
		want  hydrant.Point
	}{
		{[]any{done{}}, hydrant.PointDone},
		{[]any{done{}, save{}}, hydrant.PointSave},
		{[]any{save{}, outcome{}, done{}}, hydrant.PointOutcome},
		{[]any{outcome{}, ready{}, save{}}, hydrant.PointReady},
	} {
		if got := pointOf(tt.frame); got != tt.want {
			t.Errorf("%T: %s, want %s", tt.frame, got, tt.want)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	s, r, v, o, d := sample()
	for _, e := range []buffer.Entry{s.entry(), r.entry(), v.entry(), o.entry(), d.entry()} {
		f.Add(e.Type, e.Body)
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		v, err := decodeEntry(buffer.Entry{Type: kind, Body: body})
		if err != nil || v == nil {
			return
		}
		e := v.(interface{ entry() buffer.Entry }).entry()
		again, err := decodeEntry(e)
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("%+v comes back as %+v, %v", v, again, err)
		}
		replay(1, []buffer.Entry{snapshot{start: 1}.entry(), e})
	})
}

// slow is a log whose journal takes its time to sync one kind of frame.
type slow struct {
	buffer.Log
	point   hydrant.Point
	reached chan struct{}
	goesOn  chan struct{}
}

func (l slow) Cursor(name string, start buffer.Start) (buffer.Cursor, error) {
	c, err := l.Log.Cursor(name, start)
	return slowCursor{c, l}, err
}

type slowCursor struct {
	buffer.Cursor
	l slow
}

func (c slowCursor) Write(p hydrant.Point, committed hydrant.Position, entries []buffer.Entry, snapshot func() []buffer.Entry) error {
	if p == c.l.point {
		close(c.l.reached)
		<-c.l.goesOn
	}
	return c.Cursor.Write(p, committed, entries, snapshot)
}

func TestADoneThatRidesInTheFrameOfANoteFreesItsSpool(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency, o.SpoolBytes = 2, 4000 }, func(r *rig) {
		l := slow{r.log, hydrant.PointSave, make(chan struct{}), make(chan struct{})}
		r.o.Log = l
		notes, end := make(chan struct{}), make(chan struct{})
		r.target.before = func(_ int, s *sinks.Shipment) error {
			if s.From != 11 {
				return nil
			}
			<-notes
			err := s.Save([]byte("a note"))
			<-end
			return err
		}
		want := numbered(30, 100)
		r.append(want[:20]...)
		r.start()
		synctest.Wait() // the first batch is delivered, and its Done waits
		close(notes)
		<-l.reached // it is on its way to the disk
		r.append(want[20:]...)
		synctest.Wait() // the third batch waits for the room of the first
		if n := r.target.attempts(); n != 2 {
			t.Errorf("%d batches were sent while there is room for two", n)
		}
		close(l.goesOn)
		synctest.Wait()
		if n := r.target.attempts(); n != 3 {
			t.Errorf("%d batches were sent when the room of the first was free, want 3", n)
		}
		close(end)
		r.pass(minutes)
		r.target.holds(t, want)
		r.kill()
	})
}
